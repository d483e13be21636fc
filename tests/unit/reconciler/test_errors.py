"""A request that fails: what ends the job, what is told and clears itself, what is no loop."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_operator.adapters.resources import (
    CONFIG_MAPS,
    FINETUNEJOBS,
    JOBS,
    PVCS,
    Resource,
)
from finetune_operator.core import conditions
from finetune_operator.core.errors import OperatorError, Terminal, Transient
from support.builders_api import changed, hosted_job, pod_job
from support.fake_api import Json
from support.rounds import (
    WRONG_KEY,
    fail,
    key,
    reason_of,
    running_hosted,
    status_of,
    stored,
    until,
    work,
)
from support.world import World


async def test_what_cannot_be_created_ends_the_job(world: World) -> None:
    fail(world, JOBS, "create", Terminal(Reason.REQUEST_REFUSED, "spec.template is invalid"))
    world.create_job(pod_job("tune"))
    await work(world)
    assert status_of(world, "tune").phase == Phase.FAILED
    assert reason_of(world, "tune") == Reason.REQUEST_REFUSED


async def test_a_refused_status_does_not_end_the_job(world: World) -> None:
    world.create_job(pod_job("tune"))
    world.deliver_all()
    fail(world, FINETUNEJOBS, "patch", Terminal(Reason.REQUEST_REFUSED, "status is invalid"))
    with pytest.raises(Transient, match="Status was refused"):
        await world.reconciler.reconcile(key("tune"))
    world.api.hook = lambda when, resource, verb: None
    assert not conditions.is_finished(status_of(world, "tune"))


@pytest.mark.parametrize("deleting", [False, True], ids=["after the end", "while it is deleted"])
async def test_a_refusal_that_ends_nothing_is_no_endless_loop(world: World, deleting: bool) -> None:
    if deleting:
        await running_hosted(world)
        world.service.jobs[0].status = "cancelled"
        world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
        world.hosted.poll()
        refused: tuple[Resource, str] = (FINETUNEJOBS, "patch")
    else:
        world.create_job(pod_job("tune"))
        await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
        world.api.change(
            FINETUNEJOBS, stored(world, "tune"), {"spec": {"ttlSecondsAfterFinished": 5}}
        )
        refused = (JOBS, "patch")
    world.deliver_all()
    fail(world, *refused, Terminal(Reason.REQUEST_REFUSED, "no"))
    first = world.reconciler.reconcile(key("tune"))
    if not deleting:
        with pytest.raises(Transient):  # the queue waits longer and longer
            await first
    else:
        again = await _seconds_or_error(first)
        assert again is None or again > 0


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A request that the API server refuses for good while a job is under way."""

    request: tuple[Resource, str]
    job: Callable[[str], Json]
    edit: Json | None = None
    """Made once the job runs; it brings the request about."""


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            Refused(request=(CONFIG_MAPS, "create"), job=hosted_job),
            id="the result of a hosted job, which is paid for",
        ),
        pytest.param(
            Refused(
                request=(PVCS, "patch"), job=pod_job, edit={"deletionPolicy": {"model": "Delete"}}
            ),
            id="the claim's owner",
        ),
        pytest.param(
            Refused(
                request=(FINETUNEJOBS, "patch"),
                job=lambda name: changed(
                    hosted_job(name), {"spec.deletionPolicy": {"job": "Keep"}}
                ),
                edit={"deletionPolicy": {"job": "Cancel"}},
            ),
            id="the finalizer",
        ),
    ],
)
async def test_what_is_refused_while_a_job_runs_does_not_end_it(world: World, row: Refused) -> None:
    world.create_job(row.job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    fail(world, *row.request, Terminal(Reason.REQUEST_REFUSED, "denied by a policy"))
    if row.edit:
        world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": row.edit})
    for _ in range(80):
        await _go_on(world)
    assert not conditions.is_finished(status_of(world, "tune"))
    world.api.hook = lambda when, resource, verb: None
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    assert len(world.service.jobs) <= 1


async def _go_on(world: World) -> None:
    await work(world)
    world.move()
    world.hosted.poll()
    world.time = world.after(1)


async def test_a_job_past_its_deadline_asks_a_service_that_fails_ever_less_often(
    world: World,
) -> None:
    await running_hosted(world, activeDeadlineSeconds=60)
    asked: list[datetime] = []

    def refuse(when: str, operation: str) -> None:
        if (when, operation) == ("before", "cancel"):
            asked.append(world.time)
            raise Transient(Reason.SERVICE_UNAVAILABLE, "HTTP 500", retry_after=5)

    world.hosted.hook = refuse
    world.service.jobs[0].status = "running"
    for _ in range(300):
        await work(world)
        world.time = world.after(1)
    assert 3 <= len(asked) < 12


async def test_a_wait_for_the_user_stays_stalled_when_another_leader_takes_over(
    world: World,
) -> None:
    denied = Transient(Reason.PERMISSION_DENIED, "May not create Jobs", waits_for_user=True)
    fail(world, JOBS, "create", denied)
    world.create_job(pod_job("tune"))
    for _ in range(12):
        world.time = world.after(60)
        await work(world)
    before = status_of(world, "tune")
    assert conditions.is_true(before, ConditionType.STALLED)
    world.start_process()
    await work(world)
    assert status_of(world, "tune").conditions == before.conditions


async def _seconds_or_error(round_: Any) -> float | None:
    try:
        seconds: float | None = await round_
    except OperatorError:
        return None
    return seconds


async def test_a_missing_right_is_told_and_clears_itself(world: World) -> None:
    denied = Transient(Reason.PERMISSION_DENIED, "May not create Jobs", waits_for_user=True)
    fail(world, JOBS, "create", denied)
    world.create_job(pod_job("tune"))
    await work(world)
    assert (reason_of(world, "tune"), status_of(world, "tune").phase) == (
        Reason.PERMISSION_DENIED,
        Phase.PENDING,
    )
    for _ in range(12):
        world.time = world.after(60)
        await work(world)
    assert conditions.is_true(status_of(world, "tune"), ConditionType.STALLED)
    world.api.hook = lambda when, resource, verb: None
    world.time = world.after(999)
    await work(world)
    assert status_of(world, "tune").phase == Phase.PREPARING
    assert not conditions.is_true(status_of(world, "tune"), ConditionType.STALLED)


@pytest.mark.parametrize(
    ("trouble", "want_stalled"),
    [
        pytest.param(WRONG_KEY, True, id="401: somebody has to act"),
        pytest.param(
            Terminal(Reason.REQUEST_REFUSED, "The TokenRequest is denied"), True, id="refused"
        ),
        pytest.param(Transient(Reason.RATE_LIMITED, "Slower"), False, id="429: passes by itself"),
        pytest.param(Transient(Reason.ENDPOINT_UNREACHABLE, "Gone"), False, id="an outage"),
    ],
)
async def test_a_poll_that_fails_is_told_and_clears_itself(
    world: World, trouble: OperatorError, want_stalled: bool
) -> None:
    await running_hosted(world)
    world.hosted.set_trouble(trouble)
    await work(world)
    assert reason_of(world, "tune") == trouble.reason
    assert status_of(world, "tune").phase == Phase.RUNNING
    for _ in range(25):
        world.time = world.after(15)
        await work(world)
    assert conditions.is_true(status_of(world, "tune"), ConditionType.STALLED) == want_stalled
    before = world.api.writes()
    world.time = world.after(15)
    await work(world)
    assert world.api.writes() == before, "the same trouble is told once"
    world.hosted.set_trouble(None)
    await work(world)
    assert reason_of(world, "tune") == Reason.RUNNING
