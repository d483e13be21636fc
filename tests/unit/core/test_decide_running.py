"""Training in the cluster while it goes on: its pod, its progress, its silence, its queue."""

from dataclasses import replace

import pytest

from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import Progress, Resolved
from finetune_operator.core import conditions
from finetune_operator.core.conditions import Fact
from finetune_operator.core.decide import decide
from finetune_operator.core.plan import Plan
from support.builders import (
    POLICY,
    a_child,
    a_job,
    a_pod,
    condition,
    progress_of,
    reason_of,
    seen,
    stamp,
    started,
    told,
    with_status,
)


@pytest.mark.parametrize(
    ("phase", "want_phase", "want_reason", "want_message"),
    [
        pytest.param(
            None, Phase.PENDING, Reason.STARTING, "Starting the training pod", id="no pod yet"
        ),
        pytest.param(
            "Pending",
            Phase.PENDING,
            Reason.STARTING,
            "Starting the training pod",
            id="a pod that starts",
        ),
        pytest.param(
            "Running",
            Phase.RUNNING,
            Reason.RUNNING,
            "The training pod is running",
            id="a pod that runs",
        ),
    ],
)
def test_a_child_is_followed(
    phase: str | None, want_phase: Phase, want_reason: Reason, want_message: str
) -> None:
    job = started(a_job())
    child = a_child(job, created=-1)
    pods = () if phase is None else (a_pod(child, phase=phase, created=-1),)
    plan = decide(seen(job, child, pods=pods), POLICY)
    assert plan.action is None
    assert (plan.status.phase, reason_of(plan)) == (want_phase, want_reason)
    assert plan.status.message == want_message
    created = condition(plan.status, ConditionType.SUBMITTED)
    assert created is not None
    assert (created.status, created.reason) == ("True", Reason.JOB_CREATED)


def test_progress_becomes_the_message_and_the_attempts_step() -> None:
    job = started(a_job())
    child = a_child(job)
    told_by_pod = progress_of(child.uid, step="120", totalSteps="600", loss="0.83")
    status = decide(seen(job, child, pods=(a_pod(child),), progress=told_by_pod), POLICY).status
    assert status.message == "Step 120 of 600, loss 0.83"
    assert status.progress is not None
    assert (status.progress.text, status.progress.step) == ("20%", 120)
    assert status.attempts is not None
    assert (status.attempts[-1].step, status.attempts[-1].node) == (120, "node-1")
    assert status.kubernetes is not None
    assert status.kubernetes.pod_name == a_pod(child).name


def test_what_the_pod_decided_is_known_while_it_runs() -> None:
    job = started(a_job())
    child = a_child(job)
    decided = {"dtype": Resolved(value="bfloat16", reason="the base is frozen")}
    told_by_pod = replace(progress_of(child.uid), resolved=decided)
    status = decide(seen(job, child, pods=(a_pod(child),), progress=told_by_pod), POLICY).status
    assert status.resolved == decided
    later = with_status(job, resolved=decided)
    told_by_next = progress_of(child.uid)
    status = decide(seen(later, child, pods=(a_pod(child),), progress=told_by_next), POLICY).status
    assert status.resolved == decided


def _followed(created: float, updated_at: float | None) -> Plan:
    """A running pod of that age, which reported last at that second."""
    job = started(a_job())
    if updated_at is not None:
        job = with_status(job, progress=Progress(step=9, updated_at=stamp(updated_at)))
    child = a_child(job, created=created)
    return decide(seen(job, child, pods=(a_pod(child, created=created),)), POLICY)


@pytest.mark.parametrize(
    ("created", "updated_at", "want_silent", "want_look"),
    [
        pytest.param(-100, None, False, 200, id="young: it has its time"),
        pytest.param(-300, None, True, None, id="never a word"),
        pytest.param(-9000, -20, False, 280, id="heard of lately"),
        pytest.param(-9000, -301, True, None, id="silent since"),
        pytest.param(-50, -9000, False, 250, id="the pod before it was heard of last"),
    ],
)
def test_a_pod_that_cannot_report_says_what_to_check(
    created: float, updated_at: float | None, want_silent: bool, want_look: float | None
) -> None:
    plan = _followed(created, updated_at)
    told_so = "look for `progress-lost` in its log" in (plan.status.message or "")
    assert (told_so, plan.look_again_after) == (want_silent, want_look)
    assert plan.status.phase == Phase.RUNNING
    assert condition(plan.status, ConditionType.STALLED) is None, "it trains all the same"


def test_before_the_first_step_the_scored_rows_are_progress() -> None:
    job = started(a_job())
    child = a_child(job)
    told_by_pod = progress_of(child.uid, rowsScored="12", rowsToScore="50")
    status = decide(seen(job, child, pods=(a_pod(child),), progress=told_by_pod), POLICY).status
    assert status.message == "The training pod is running, 12 of 50 validation rows scored"


def test_the_report_of_an_earlier_attempts_pod_counts_for_nothing() -> None:
    job = started(a_job(), attempt=2)
    child = a_child(job, attempt=2)
    late = progress_of("uid-of-attempt-1", step="599")
    assert (
        decide(seen(job, child, pods=(a_pod(child),), progress=late), POLICY).status.progress
        is None
    )


def test_between_the_end_of_a_pod_and_the_verdict_nothing_is_said() -> None:
    job = told(started(a_job()), conditions.working(Phase.RUNNING, Reason.RUNNING, "Step 3"))
    child = a_child(job)
    plan = decide(seen(job, child, pods=(a_pod(child, phase="Succeeded"),)), POLICY)
    assert (plan.action, plan.status.phase, plan.status.message) == (None, Phase.RUNNING, "Step 3")


# Queues


@pytest.mark.parametrize(
    ("suspended", "want_phase", "want_quota"),
    [
        pytest.param(True, Phase.QUEUED, ("False", "Queued"), id="held back"),
        pytest.param(False, Phase.PENDING, ("True", "Admitted"), id="admitted"),
    ],
)
def test_a_queue_is_waited_for(
    suspended: bool, want_phase: Phase, want_quota: tuple[str, str]
) -> None:
    job = started(a_job(spec={"kubernetes.queueName": "team-a"}))
    child = a_child(job, created=-1, queue="team-a", suspended=suspended)
    plan = decide(seen(job, child), POLICY)
    quota = condition(plan.status, ConditionType.QUOTA_RESERVED)
    assert plan.status.phase == want_phase
    assert quota is not None
    assert (quota.status, quota.reason) == want_quota
    assert plan.status.kubernetes is not None
    assert plan.status.kubernetes.queue_name == "team-a"
    assert plan.look_again_after == (180 if suspended else 2)


@pytest.mark.parametrize(
    ("waits_for", "want_look", "want_hint"),
    [
        pytest.param(170, 10, False, id="not long yet"),
        pytest.param(180, None, True, id="long: perhaps there is no such queue"),
        pytest.param(86_400, None, True, id="a day: still no failure"),
    ],
)
def test_a_queue_that_admits_nothing_is_looked_into(
    waits_for: float, want_look: float | None, want_hint: bool
) -> None:
    job = started(a_job(spec={"kubernetes.queueName": "team-a"}))
    quota = Fact(
        type=ConditionType.QUOTA_RESERVED, status=conditions.FALSE, reason=Reason.QUEUED, message=""
    )
    job = told(
        job, conditions.working(Phase.QUEUED, Reason.QUEUED, "", quota), at_second=-waits_for
    )
    child = a_child(job, created=-waits_for - 1, queue="team-a", suspended=True)
    plan = decide(seen(job, child), POLICY)
    hint = (
        f"; nothing has admitted Job {child.name} yet: check that Kueue runs, that namespace"
        " default has this LocalQueue, and its ClusterQueue quota left"
    )
    want = "Waiting in queue team-a for quota" + (hint if want_hint else "")
    assert (plan.status.message, plan.look_again_after) == (want, want_look)
    assert condition(plan.status, ConditionType.STALLED) is None
