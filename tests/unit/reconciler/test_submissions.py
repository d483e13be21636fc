"""Hosted jobs: sent once, found again, doubled, paused, and a service that fails."""

from datetime import timedelta
from typing import Any

import pytest

from finetune_api.constants import FINALIZER
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_operator.adapters.resources import CONFIG_MAPS, FINETUNEJOBS, JOBS
from finetune_operator.core import conditions
from finetune_operator.core.errors import Ambiguous, Declined, Transient
from support.builders_api import changed, hosted_job, pod_job
from support.rounds import key, memory_of, reason_of, running_hosted, status_of, stored, until, work
from support.world import LIST_LAG, NAMESPACE, World


@pytest.mark.parametrize("policy", ["Cancel", "Keep"])
async def test_a_first_submission_is_not_kept_waiting(world: World, policy: str) -> None:
    manifest = changed(hosted_job("tune"), {"spec.deletionPolicy": {"job": policy}})
    world.create_job(manifest)
    began = world.time
    await until(world, lambda: world.service.jobs)
    assert (world.time - began).total_seconds() < 30
    held = FINALIZER in stored(world, "tune")["metadata"].get("finalizers", [])
    assert held == (policy == "Cancel")


async def test_without_a_key_nothing_is_begun(world: World) -> None:
    """Neither marker nor finalizer: the spec can be edited, and the job goes at once."""
    world.create_job(hosted_job("tune"))

    def deny(when: str, operation: str) -> None:
        if operation == "authenticate":
            raise Transient(Reason.SECRET_ACCESS_DENIED, "May not read it", waits_for_user=True)

    world.hosted.hook = deny
    await until(world, lambda: reason_of(world, "tune") == Reason.SECRET_ACCESS_DENIED)
    status = status_of(world, "tune")
    assert (status.azure_open_ai, status.attempt, status.started_generation) == (None, None, None)
    assert not stored(world, "tune")["metadata"].get("finalizers")
    world.hosted.hook = lambda when, operation: None
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    assert len(world.service.jobs) == 1


async def test_a_job_whose_status_was_lost_is_found_and_not_paid_for_twice(world: World) -> None:
    await running_hosted(world)
    lost = dict.fromkeys(stored(world, "tune")["status"])
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"status": lost})
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    (only,) = world.service.jobs
    part = status_of(world, "tune").azure_open_ai
    assert part is not None
    assert part.job_id == only.id


async def test_a_clock_that_is_set_forward_proves_nothing(world: World) -> None:
    """The answer is lost, and the list does not show the job yet: an hour has not passed."""
    world.create_job(hosted_job("tune"))

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("after", "create"):
            world.service.jobs[-1].shown_from = world.after(20)
            world.clock_set_by = timedelta(hours=1)
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "no answer")

    world.hosted.hook = lose
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    assert len(world.service.jobs) == 1


@pytest.mark.parametrize("policy", ["Cancel", "Keep"])
async def test_a_status_that_is_lost_while_the_answer_is_does_not_pay_twice(
    world: World, policy: str
) -> None:
    world.create_job(changed(hosted_job("tune"), {"spec.deletionPolicy": {"job": policy}}))

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("after", "create"):
            world.service.jobs[-1].shown_from = world.after(20)
            wiped = {"status": dict.fromkeys(stored(world, "tune")["status"])}
            world.api.change(FINETUNEJOBS, stored(world, "tune"), wiped)
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "no answer")

    world.hosted.hook = lose
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    assert len(world.service.jobs) == 1


async def test_a_job_that_became_hosted_by_an_edit_is_forgotten_like_any_other(
    world: World,
) -> None:
    as_hosted = hosted_job("tune")["spec"]
    suspended = changed(pod_job("tune"), {"spec.suspend": True})
    world.create_job(suspended)
    await work(world)
    edit = dict.fromkeys(suspended["spec"]) | as_hosted | {"deletionPolicy": {"job": "Keep"}}
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": edit})
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    assert world.hosted.watched
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    await work(world)
    assert world.hosted.watched == {}


async def test_a_result_name_that_is_taken_is_told_before_anything_is_paid_for(
    world: World,
) -> None:
    foreign = {"kind": "ConfigMap", "metadata": {"name": "tune-result"}}
    world.api.add(CONFIG_MAPS, NAMESPACE, foreign)
    world.create_job(hosted_job("tune"))
    await until(world, lambda: reason_of(world, "tune") == Reason.NAME_CONFLICT)
    assert world.service.jobs == []
    assert world.api.all(JOBS) == []


async def test_of_two_jobs_with_one_marker_the_oldest_stays(world: World) -> None:
    world.create_job(hosted_job("tune"))
    lost = iter([True])

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("after", "create") and next(lost, False):
            world.service.create(world.hosted.sending)  # a zombie's
            for job in world.service.jobs:
                job.shown_from = world.time
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "no answer")

    world.hosted.hook = lose
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    part = status_of(world, "tune").azure_open_ai
    assert part is not None
    adopted = part.job_id
    others = [job.status for job in world.service.jobs if job.id != adopted]
    assert others == ["cancelled"]


async def created_twice(world: World, **spec: Any) -> None:
    """Running, beside a second job of its submission that cannot be cancelled."""
    world.create_job(changed(hosted_job("tune"), {f"spec.{k}": v for k, v in spec.items()}))

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("after", "create"):
            world.service.create(world.hosted.sending)
            for job in world.service.jobs:
                job.shown_from = world.time
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "no answer")
        if (when, operation) == ("before", "cancel ftjob-2"):
            raise Transient(Reason.SERVICE_UNAVAILABLE, "not now")

    world.hosted.hook = lose
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)


async def test_a_duplicate_that_cannot_be_cancelled_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await created_twice(world)
    part = status_of(world, "tune").azure_open_ai
    assert part is not None
    assert part.job_id == "ftjob-1", "it does not prevent the adoption"
    tried = memory_of(world)[key("tune")].cancelled["ftjob-2"]
    world.time = world.after(301)
    await work(world)
    assert memory_of(world)[key("tune")].cancelled["ftjob-2"] > tried
    told = [r for r in caplog.records if "ftjob-2 was submitted twice" in r.getMessage()]
    assert len(told) == 1
    world.hosted.hook = lambda when, operation: None
    world.time = world.after(301)
    await work(world)
    assert world.service.get("ftjob-2").status == "cancelled"
    assert not world.service.get("ftjob-1").over


@pytest.mark.parametrize(
    ("edit", "want"),
    [
        pytest.param({"cancel": True}, Phase.CANCELLED, id="cancel"),
        pytest.param({"activeDeadlineSeconds": 1}, Phase.FAILED, id="deadline"),
    ],
)
async def test_a_duplicate_that_cannot_be_cancelled_holds_up_no_end(
    world: World, edit: dict[str, Any], want: Phase
) -> None:
    await created_twice(world)
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": edit})
    await until(world, lambda: status_of(world, "tune").phase == want)
    assert world.service.get("ftjob-1").status == "cancelled"


async def test_a_duplicate_that_cannot_be_cancelled_holds_up_no_deletion(world: World) -> None:
    await created_twice(world)
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    await until(world, lambda: ("finetunejobs", NAMESPACE, "tune") not in world.api.objects)
    assert world.service.get("ftjob-1").status == "cancelled"
    assert world.orphaned == 0


async def test_a_refused_pause_is_asked_for_slowly(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await running_hosted(world)
    asked = []

    def refuse(when: str, operation: str) -> None:
        if (when, operation) == ("before", "pause"):
            asked.append(world.time)
            raise Declined(Reason.REQUEST_REFUSED, "It does not pause ftjob-1: not this model.")

    world.hosted.hook = refuse
    world.service.jobs[0].status, world.service.jobs[0].step = "running", 1
    world.hosted.poll()
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": True}})
    for _ in range(10):
        await work(world)
        world.time = world.after(30)
        world.wake(key("tune"))
    assert len(asked) == 1
    assert "not this model" in (status_of(world, "tune").message or "")
    world.time = world.after(601)
    await work(world)
    assert len(asked) == 2
    assert len([r for r in caplog.records if "not this model" in r.getMessage()]) == 1
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": False}})
    await work(world)
    assert status_of(world, "tune").phase == Phase.RUNNING
    assert reason_of(world, "tune") == Reason.RUNNING


async def test_a_service_that_always_fails_is_quoted_and_stalls_until_it_is_well(
    world: World,
) -> None:
    world.create_job(hosted_job("tune"))
    tries = []

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("before", "create"):
            tries.append(world.time)
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "HTTP 500: out of order")

    world.hosted.hook = lose
    await until(world, lambda: len(tries) == 2)
    await until(world, lambda: conditions.is_true(status_of(world, "tune"), ConditionType.STALLED))
    assert status_of(world, "tune").message == "HTTP 500: out of order"
    world.hosted.hook = lambda when, operation: None
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    assert not conditions.is_true(status_of(world, "tune"), ConditionType.STALLED)
    assert len(world.service.jobs) == 1


async def test_a_job_starts_from_the_result_of_another(world: World) -> None:
    """Applied before its parent, which is waited for, found and built upon."""
    stacked = changed(
        hosted_job("dpo"), {"spec.model": {"jobRef": {"name": "tune"}}, "spec.method.type": "DPO"}
    )
    world.create_job(stacked)
    await until(world, lambda: reason_of(world, "dpo") == Reason.PARENT_NOT_FOUND)
    world.create_job(hosted_job("tune"))
    await until(world, lambda: reason_of(world, "dpo") == Reason.WAITING_FOR_PARENT)
    await until(world, lambda: status_of(world, "dpo").phase == Phase.SUCCEEDED)

    parent, part = status_of(world, "tune").result, status_of(world, "dpo").azure_open_ai
    assert parent is not None
    assert part is not None
    assert part.submission is not None
    assert part.submission.model == parent.model
    assert len(world.service.jobs) == 2


async def test_the_result_file_says_how_well_it_fits(world: World) -> None:
    await running_hosted(world)
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    status = status_of(world, "tune")
    assert status.metrics is not None
    assert (status.metrics.train_loss, status.metrics.validation_loss) == ("1.7", "1.7")
    found = conditions.get(status, ConditionType.OVERFITTING)
    assert found is not None
    assert (found.status, found.reason) == ("True", Reason.VALIDATION_LOSS_ROSE)


async def test_a_result_file_that_cannot_be_read_holds_nothing_up(world: World) -> None:
    def away(when: str, operation: str) -> None:
        if operation == "results":
            raise Transient(Reason.SERVICE_UNAVAILABLE, "Away")

    await running_hosted(world)
    world.hosted.hook = away
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    assert conditions.get(status_of(world, "tune"), ConditionType.OVERFITTING) is None


async def test_an_object_from_a_backup_asks_before_it_pays(world: World) -> None:
    """The same manifest under another uid, while nobody follows what the first one trained."""
    await running_hosted(world)
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    await until(world, lambda: not world.api.all(FINETUNEJOBS))
    world.time = world.after(LIST_LAG)  # by then the service's list shows it

    world.create_job(hosted_job("tune"))

    await until(world, lambda: reason_of(world, "tune") == Reason.POSSIBLE_DUPLICATE)
    assert len(world.service.jobs) == 1
    (first,) = world.service.jobs
    annotations = {"finetune.dev/adopt": first.id}
    world.api.change(
        FINETUNEJOBS, stored(world, "tune"), {"metadata": {"annotations": annotations}}
    )
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    assert len(world.service.jobs) == 1
