"""What the person on call reads."""

import pytest

from finetune_api.constants import COMPONENT_TRAINER, LABEL_COMPONENT
from finetune_api.reasons import Phase, Reason
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS
from support.builders_api import pod_job
from support.fake_api import Json
from support.rounds import reason_of, running_hosted, status_of, stored, until
from support.world import World


def trains(child: Json) -> bool:
    return bool(child["metadata"]["labels"][LABEL_COMPONENT] == COMPONENT_TRAINER)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What our own modules logged at INFO."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "INFO" and record.name.startswith("finetune_operator")
    ]


async def test_the_log_tells_of_an_attempt_and_its_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "finetune_operator")
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    (child,) = [c["metadata"]["name"] for c in world.api.all(JOBS) if trains(c)]
    assert lines(caplog) == [
        f"Attempt begun: attempt=1 child={child}",
        "Ended: phase=Succeeded reason=Succeeded",
    ]


async def test_the_log_tells_of_a_pause(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    caplog.set_level("INFO", "finetune_operator")
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": True}})
    await until(world, lambda: reason_of(world, "tune") == Reason.SUSPENDED)
    assert lines(caplog) == ["Suspended"]


async def test_the_log_tells_of_a_submission_and_its_cancellation(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "finetune_operator")
    await running_hosted(world)
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"cancel": True}})
    await until(world, lambda: status_of(world, "tune").phase == Phase.CANCELLED)
    (remote,) = [job.id for job in world.service.jobs]
    assert lines(caplog) == [
        f"Submitted: remote={remote} endpoint=my-account.openai.azure.com",
        f"The service accepted to cancel: remote={remote}",
        "Ended: phase=Cancelled reason=Cancelled",
    ]
