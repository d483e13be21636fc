"""Being cancelled, and the pods that hold up whatever was asked for."""

from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState, Observed
from finetune_operator.core.plan import (
    CancelRemote,
    DeleteChild,
    ExportResult,
    Look,
    Refresh,
    WriteStatus,
)
from support.builders import (
    POLICY,
    a_child,
    a_hosted,
    a_job,
    a_pod,
    a_remote,
    a_running,
    a_success,
    at,
    condition,
    facts,
    kinds_true,
    prepared,
    reason_of,
    seen,
    stamp,
    started,
    submitted,
    told,
)

PAUSING = conditions.pausing(Phase.RUNNING, "Pausing")
CANCELLING = conditions.cancelling(Phase.RUNNING, "Cancelling")


@pytest.mark.parametrize(
    "observed",
    [
        pytest.param(seen(a_job(spec={"cancel": True})), id="before anything"),
        pytest.param(seen(started(a_job(spec={"cancel": True}))), id="between marker and child"),
        pytest.param(
            seen(a_job(spec={"cancel": True, "suspend": True})), id="cancel wins over suspend"
        ),
        pytest.param(seen(prepared(a_job(hosted=True, spec={"cancel": True}))), id="not submitted"),
        pytest.param(
            seen(
                submitted(a_job(hosted=True, spec={"cancel": True}), job_id=None),
                submission=facts(here=True),
            ),
            id="marked, never sent",
        ),
        pytest.param(
            seen(
                submitted(a_job(hosted=True, spec={"cancel": True}), job_id=None),
                submission=facts(since=-99, looked=-1),
            ),
            id="surely never sent by the leader before",
        ),
        pytest.param(
            seen(a_hosted(cancel=True), remote=a_remote("cancelled")), id="cancelled at the service"
        ),
        pytest.param(seen(a_hosted(cancel=True), remote=a_remote("failed")), id="failed meanwhile"),
    ],
)
def test_where_nothing_runs_a_job_is_cancelled_at_once(observed: Observed) -> None:
    plan = decide(observed, POLICY)
    assert (plan.action, plan.status.phase) == (None, Phase.CANCELLED)
    assert kinds_true(plan) - {"DataValid"} == {"Cancelled", "Stalled"}
    assert plan.status.completion_time == stamp(0)
    assert all(attempt.end_time for attempt in plan.status.attempts or ())
    assert plan.look_again_after == 0, "to clean up"


@pytest.mark.parametrize(
    ("observed", "want"),
    [
        pytest.param(a_running(started(a_job(spec={"cancel": True}))), DeleteChild, id="a pod"),
        pytest.param(
            seen(a_hosted(cancel=True), remote=a_remote()), CancelRemote, id="a hosted job"
        ),
        pytest.param(
            seen(told(a_hosted(cancel=True), conditions.suspended("")), remote=a_remote("paused")),
            CancelRemote,
            id="a paused hosted job",
        ),
        pytest.param(seen(a_hosted(cancel=True)), Refresh, id="a hosted job not seen yet"),
        pytest.param(
            seen(
                submitted(a_job(hosted=True, spec={"cancel": True}), job_id=None),
                submission=facts(since=0),
            ),
            Look,
            id="a submission in doubt",
        ),
    ],
)
def test_what_runs_is_stopped_after_that_was_written_down(observed: Observed, want: type) -> None:
    first = decide(observed, POLICY).action
    assert isinstance(first, WriteStatus)
    assert conditions.cancel_was_asked(first.status)
    noted = observed.job.model_copy(update={"status": first.status})
    plan = decide(_with_job(observed, noted), POLICY)
    assert isinstance(plan.action, want)


def _with_job(observed: Observed, job: FineTuneJob) -> Observed:
    return Observed(**{**vars(observed), "job": job})


def test_setting_it_back_changes_nothing() -> None:
    job = told(started(a_job()), CANCELLING)
    child = a_child(job)
    assert decide(seen(job, child), POLICY).action == DeleteChild(name=child.name, uid=child.uid)
    assert decide(seen(job), POLICY).status.phase == Phase.CANCELLED


def test_a_request_that_was_accepted_is_waited_for() -> None:
    job = told(a_hosted(cancel=True), CANCELLING)
    plan = decide(seen(job, remote=a_remote(), cancel_sent=True), POLICY)
    assert (plan.action, reason_of(plan), plan.look_again_after) == (None, Reason.CANCELLING, 15)


def test_a_model_that_is_there_already_is_not_thrown_away() -> None:
    remote = a_remote("succeeded", fine_tuned_model="m")
    job = told(a_hosted(cancel=True), CANCELLING)
    plan = decide(seen(job, remote=remote, exported=True), POLICY)
    assert plan.status.phase == Phase.SUCCEEDED
    assert condition(plan.status, ConditionType.CANCELLED) is None

    in_cluster = told(started(a_job(spec={"cancel": True})), CANCELLING)
    done = a_child(in_cluster, state=ChildState.COMPLETE)
    pod = a_pod(done, phase="Succeeded", words=a_success())
    assert isinstance(decide(seen(in_cluster, done, pods=(pod,)), POLICY).action, ExportResult)


# Pods that do not stop


@pytest.mark.parametrize(
    ("job", "want_reason"),
    [
        pytest.param(
            told(started(a_job(spec={"cancel": True})), CANCELLING), Reason.CANCELLING, id="cancel"
        ),
        pytest.param(
            told(started(a_job(spec={"suspend": True})), PAUSING), Reason.PAUSING, id="suspend"
        ),
        pytest.param(
            started(a_job(spec={"activeDeadlineSeconds": 100})), Reason.CANCELLING, id="deadline"
        ),
        pytest.param(started(a_job(), attempt=2), Reason.STARTING, id="before the next attempt"),
    ],
)
@pytest.mark.parametrize(
    ("due", "pod", "want_in_message", "want_look"),
    [
        pytest.param(100, {}, "Waiting for ", 130, id="within its grace"),
        pytest.param(
            -31,
            {},
            "tune-pod on node node-1 should have stopped by 2026-11-22 11:59:29 UTC",
            None,
            id="with a lost node",
        ),
        pytest.param(
            -31,
            {"phase": "Failed", "exit_code": 75},
            "tune-pod has ended and should have been gone by 2026-11-22 11:59:29 UTC",
            None,
            id="held by a finalizer",
        ),
    ],
)
def test_a_pod_that_holds_up_what_was_asked_for_is_named(
    job: FineTuneJob,
    want_reason: Reason,
    due: float,
    pod: dict[str, Any],
    want_in_message: str,
    want_look: float | None,
) -> None:
    child = a_child(job, deleting=True)
    going = a_pod(child, name="tune-pod", deleting=True, due=at(due), **pod)
    plan = decide(seen(job, child, pods=(going,)), POLICY)
    assert plan.action is None
    assert want_in_message in (plan.status.message or "")
    assert reason_of(plan) == want_reason
    assert ("Stalled" in kinds_true(plan)) == (due < 0)
    assert plan.look_again_after == want_look
