"""The deadline: what runs is stopped, and the job has failed."""

import pytest

from finetune_api.reasons import Phase, Reason
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import Observed
from finetune_operator.core.plan import CancelRemote, CreatePrepare, DeleteChild
from support.builders import (
    POLICY,
    a_child,
    a_hosted,
    a_job,
    a_pod,
    a_remote,
    a_running,
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
