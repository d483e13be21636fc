"""The deadline: what runs is stopped, and the job has failed."""

from typing import Any

import pytest

from finetune_api.reasons import Phase, Reason
from finetune_api.status import Progress
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState, Observed
from finetune_operator.core.plan import CancelRemote, CreatePrepare, DeleteChild
from support.builders import (
    POLICY,
    a_child,
    a_hosted,
    a_job,
    a_pod,
    a_remote,
    a_running,
    at,
    reason_of,
    seen,
    started,
)


@pytest.mark.parametrize(
    ("observed", "want"),
    [
        pytest.param(
            a_running(started(a_job(spec={"activeDeadlineSeconds": 100}))), DeleteChild, id="a pod"
        ),
        pytest.param(
            seen(a_hosted(activeDeadlineSeconds=100), remote=a_remote()), CancelRemote, id="hosted"
        ),
    ],
)
def test_at_the_deadline_what_runs_is_stopped(observed: Observed, want: type) -> None:
    assert isinstance(decide(observed, POLICY).action, want)


def test_past_the_deadline_the_service_is_not_looked_at_all_the_time() -> None:
    job = a_hosted(activeDeadlineSeconds=50)
    plan = decide(seen(job, remote=a_remote(), cancel_sent=True), POLICY)
    assert (plan.action, plan.look_again_after) == (None, 15)


def test_then_the_job_has_failed() -> None:
    plan = decide(seen(started(a_job(spec={"activeDeadlineSeconds": 100}))), POLICY)
    assert (plan.status.phase, reason_of(plan)) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert plan.status.attempts is not None
    assert plan.status.attempts[-1].reason == Reason.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("raw_status", "ended_by", "want"),
    [
        pytest.param("cancelled", {"activeDeadlineSeconds": 100}, Phase.FAILED, id="the deadline"),
        pytest.param("cancelled", {"cancel": True}, Phase.CANCELLED, id="a cancel"),
        pytest.param("failed", {}, Phase.FAILED, id="a failure"),
        pytest.param("succeeded", {}, Phase.SUCCEEDED, id="success"),
    ],
)
def test_what_is_over_has_no_estimated_end(
    raw_status: str, ended_by: dict[str, Any], want: Phase
) -> None:
    remote = a_remote(raw_status, step=4, estimated_finish=at(900), fine_tuned_model="m",
                      details={"total_steps": 8})  # fmt: skip
    status = decide(seen(a_hosted(**ended_by), remote=remote, exported=True), POLICY).status
    assert (status.phase, status.progress and status.progress.eta) == (want, None)
    assert status.progress is not None
    assert status.azure_open_ai is not None
    assert status.azure_open_ai.estimated_finish is None


def test_nor_has_a_pod_that_failed() -> None:
    job = started(a_job(), progress=Progress(step=4, eta="13:00 UTC"))
    child = a_child(job, state=ChildState.FAILED)
    pod = a_pod(child, phase="Failed", exit_code=65)
    status = decide(seen(job, child, pods=(pod,)), POLICY).status
    assert (status.phase, status.progress) == (Phase.FAILED, Progress(step=4))


def test_what_was_done_in_time_has_succeeded() -> None:
    job = a_hosted(activeDeadlineSeconds=100)
    remote = a_remote("succeeded", fine_tuned_model="m")
    assert decide(seen(job, remote=remote, exported=True), POLICY).status.phase == Phase.SUCCEEDED


def test_the_deadline_counts_from_the_start_of_the_first_attempt() -> None:
    plan = decide(seen(a_job(spec={"activeDeadlineSeconds": 1})), POLICY)
    assert plan.action == CreatePrepare(retry=0)


def test_the_deadline_wakes_the_job() -> None:
    job = started(a_job(spec={"activeDeadlineSeconds": 130}), since=-100)
    child = a_child(job)
    assert decide(seen(job, child, pods=(a_pod(child),)), POLICY).look_again_after == 30
