"""Being suspended and resumed, in the cluster and at the service."""

from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.pods import TrainerReport
from finetune_api.reasons import Phase, Reason
from finetune_api.status import CheckpointStatus, KubernetesStatus
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState
from finetune_operator.core.plan import DeleteChild, Look, PauseRemote, ResumeRemote, WriteStatus
from support.builders import (
    POLICY,
    a_child,
    a_hosted,
    a_job,
    a_pod,
    a_remote,
    a_running,
    a_success,
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


# In the cluster


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(a_job(spec={"suspend": True}), id="before anything"),
        pytest.param(prepared(a_job(spec={"suspend": True})), id="with the data in order"),
        pytest.param(started(a_job(spec={"suspend": True})), id="between marker and child"),
    ],
)
def test_what_does_not_run_is_suspended_at_once(job: FineTuneJob) -> None:
    plan = decide(seen(job), POLICY)
    assert (plan.action, plan.status.phase) == (None, Phase.SUSPENDED)
    assert kinds_true(plan) - {"DataValid"} == {"Suspended"}
    assert plan.look_again_after is None, "no loop while suspended"


def test_a_prepare_pod_is_stopped() -> None:
    job = told(a_job(spec={"suspend": True}), PAUSING)
    child = a_child(job, prepare=0)
    assert decide(seen(job, child), POLICY).action == DeleteChild(name=child.name, uid=child.uid)


def test_a_pause_is_written_down_before_the_pod_is_stopped() -> None:
    plan = decide(a_running(started(a_job(spec={"suspend": True}))), POLICY)
    assert isinstance(plan.action, WriteStatus)
    assert conditions.pause_was_asked(plan.action.status)


def test_then_the_pod_is_stopped_and_waited_for() -> None:
    job = told(started(a_job(spec={"suspend": True})), PAUSING)
    child = a_child(job)
    assert decide(seen(job, child), POLICY).action == DeleteChild(name=child.name, uid=child.uid)
    words = TrainerReport(
        code=75, reason="Preempted", message="Stopped", checkpoint=CheckpointStatus(step=42)
    )
    going = a_child(job, deleting=True)
    pod = a_pod(going, phase="Failed", exit_code=75, words=words)
    plan = decide(seen(job, going, pods=(pod,)), POLICY)
    assert (plan.action, reason_of(plan)) == (None, Reason.PAUSING)
    assert plan.status.kubernetes is not None
    assert plan.status.kubernetes.checkpoint is not None
    assert plan.status.kubernetes.checkpoint.step == 42


def test_with_the_child_the_attempt_is_over() -> None:
    losses = KubernetesStatus(job_name="x", replacements=4, replaced_at_step=9)
    job = told(started(a_job(spec={"suspend": True}), kubernetes=losses), PAUSING)
    plan = decide(seen(job), POLICY)
    assert plan.status.phase == Phase.SUSPENDED
    assert plan.status.attempts is not None
    assert plan.status.attempts[-1].reason == "Suspended"
    assert plan.status.kubernetes is not None
    assert plan.status.kubernetes.replacements is None, "a pause says nothing of progress"


@pytest.mark.parametrize(
    ("state", "code", "want"),
    [
        pytest.param(ChildState.COMPLETE, 0, Phase.SUCCEEDED, id="done before it was paused"),
        pytest.param(ChildState.FAILED, 65, Phase.FAILED, id="failed before it was paused"),
    ],
)
def test_an_end_is_not_lost_by_a_pause(state: ChildState, code: int, want: Phase) -> None:
    job = started(a_job(spec={"suspend": True}))
    child = a_child(job, state=state)
    words = "" if code else a_success()
    pod = a_pod(child, phase="Failed" if code else "Succeeded", exit_code=code, words=words)
    assert decide(seen(job, child, pods=(pod,), exported=True), POLICY).status.phase == want


def test_a_resume_half_way_takes_the_stopped_pod_for_no_failure() -> None:
    job = told(started(a_job()), PAUSING)
    plan = decide(seen(job, a_child(job, deleting=True)), POLICY)
    assert plan.action is None
    assert plan.status.retries is None
    assert plan.status.attempts is not None
    assert plan.status.attempts[-1].reason == "Suspended"
    assert plan.look_again_after == 0


def test_a_resume_is_a_new_attempt() -> None:
    job = told(started(a_job()), conditions.suspended("Suspended"))
    attempts = [a.model_copy(update={"end_time": stamp(-5)}) for a in job.status.attempts or ()]
    job = job.model_copy(update={"status": job.status.model_copy(update={"attempts": attempts})})
    action = decide(seen(job), POLICY).action
    assert isinstance(action, WriteStatus)
    assert (action.status.attempt, action.status.retries) == (2, None)
    assert not conditions.pause_was_asked(action.status)


# At the service


def test_a_hosted_job_that_was_not_submitted_is_not() -> None:
    job = prepared(a_job(hosted=True, spec={"suspend": True}))
    plan = decide(seen(job), POLICY)
    assert (plan.action, plan.status.phase) == (None, Phase.SUSPENDED)


def test_its_prepare_pod_is_stopped() -> None:
    job = a_job(hosted=True, spec={"suspend": True})
    child = a_child(job, prepare=0)
    assert decide(seen(job, child), POLICY).action == DeleteChild(name=child.name, uid=child.uid)
    going = decide(seen(job, a_child(job, prepare=0, deleting=True)), POLICY)
    assert (going.action, reason_of(going)) == (None, Reason.PAUSING)


@pytest.mark.parametrize(
    ("known", "want", "want_phase"),
    [
        pytest.param(facts(here=True), None, Phase.SUSPENDED, id="not sent: stays so"),
        pytest.param(facts(here=True, posted=-3), Look, None, id="perhaps sent: look for it"),
        pytest.param(facts(since=-3, looked=-1), None, Phase.PENDING, id="taken over: make sure"),
        pytest.param(facts(since=-99, looked=-1), None, Phase.SUSPENDED, id="surely not sent"),
    ],
)
def test_a_submission_in_doubt_is_settled_but_never_sent(
    known: Any, want: type[Look] | None, want_phase: Phase | None
) -> None:
    job = submitted(a_job(hosted=True, held=True, spec={"suspend": True}), job_id=None)
    plan = decide(seen(job, submission=known), POLICY)
    assert plan.action is None if want is None else isinstance(plan.action, want)
    if want_phase is not None:
        assert plan.status.phase == want_phase


@pytest.mark.parametrize(
    ("raw_status", "step", "asked", "noted", "want", "want_phase"),
    [
        pytest.param("pending", None, False, False, None, Phase.QUEUED, id="in its queue: not yet"),
        pytest.param("running", 0, False, False, None, Phase.RUNNING, id="before the first step"),
        pytest.param("running", 1, False, False, WriteStatus, None, id="first written down"),
        pytest.param("running", 1, False, True, PauseRemote, None, id="then asked for"),
        pytest.param("running", 1, True, True, None, Phase.RUNNING, id="asked once a round"),
        pytest.param("pausing", 1, False, True, None, Phase.RUNNING, id="on its way"),
        pytest.param("resuming", 1, False, True, None, Phase.RUNNING, id="just resumed: not yet"),
        pytest.param("paused", 1, False, True, None, Phase.SUSPENDED, id="at rest"),
        pytest.param("paused", 1, False, False, None, Phase.SUSPENDED, id="paused by the service"),
    ],
)
def test_a_hosted_job_is_paused_when_the_service_allows_it(
    raw_status: str, step: int | None, asked: bool, noted: bool, want: Any, want_phase: Phase | None
) -> None:
    job = told(a_hosted(suspend=True), PAUSING) if noted else a_hosted(suspend=True)
    plan = decide(seen(job, remote=a_remote(raw_status, step=step), asked=asked), POLICY)
    assert plan.action is None if want is None else isinstance(plan.action, want)
    if want is None:
        assert plan.status.phase == want_phase
        assert plan.look_again_after is not None
    assert ("Suspended" in kinds_true(plan)) == (raw_status == "paused")


@pytest.mark.parametrize("raw_status", ["succeeded", "failed", "cancelled"])
def test_what_is_over_is_not_paused(raw_status: str) -> None:
    remote = a_remote(raw_status, fine_tuned_model="m")
    plan = decide(seen(a_hosted(suspend=True), remote=remote, exported=True), POLICY)
    assert conditions.is_finished(plan.status)


def test_a_pause_of_the_service_is_not_taken_back() -> None:
    plan = decide(seen(a_hosted(), remote=a_remote("paused")), POLICY)
    assert not isinstance(plan.action, ResumeRemote)
    assert reason_of(plan) == Reason.SERVICE_PAUSED
