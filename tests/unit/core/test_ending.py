"""Being stopped: suspend, cancel, deadline, deletion, and what is cleaned up after an end."""

from typing import Any

import pytest

from finetune_api.constants import DETACH_ANNOTATION
from finetune_api.job import FineTuneJob
from finetune_api.pods import TrainerReport
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import CheckpointStatus, KubernetesStatus
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState, Observed
from finetune_operator.core.plan import (
    CancelRemote,
    CreatePrepare,
    DeleteChild,
    DropFinalizer,
    ExportResult,
    Look,
    PauseRemote,
    Plan,
    Refresh,
    ResumeRemote,
    SetTtl,
    WriteStatus,
)
from support.builders import (
    NOW,
    POLICY,
    a_child,
    a_job,
    a_pod,
    a_remote,
    a_success,
    at,
    condition,
    facts,
    over,
    prepared,
    seen,
    stamp,
    started,
    submitted,
    told,
)

PAUSING = conditions.pausing(Phase.RUNNING, "Pausing")
CANCELLING = conditions.cancelling(Phase.RUNNING, "Cancelling")


def a_hosted(**spec: Any) -> FineTuneJob:
    return submitted(a_job(hosted=True, held=True, spec=spec))


def a_running(job: FineTuneJob, **fields: Any) -> Observed:
    child = a_child(job)
    return seen(job, child, pods=(a_pod(child),), **fields)


def reason_of(plan: Plan) -> str:
    ready = condition(plan.status, ConditionType.READY)
    assert ready is not None
    return ready.reason


def kinds_true(plan: Plan) -> set[str]:
    return {c.type for c in plan.status.conditions if c.status == "True"}


# Suspend in the cluster


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


# Suspend at the service


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


# Cancel


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


# Deadline


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


# After the end

FAILED = conditions.failed(Reason.TRAINING_FAILED, "It failed")


@pytest.mark.parametrize("final", [FAILED, conditions.succeeded("Done"), conditions.cancelled("")])
def test_what_still_runs_is_stopped(final: conditions.Summary) -> None:
    job = over(started(a_job()), final)
    child = a_child(job)
    assert decide(seen(job, child), POLICY).action == DeleteChild(name=child.name, uid=child.uid)
    plan = decide(seen(job, a_child(job, deleting=True)), POLICY)
    assert (plan.action, plan.look_again_after) == (None, None)


@pytest.mark.parametrize("final", [FAILED, conditions.succeeded("Done"), conditions.cancelled("")])
def test_nothing_runs_again_when_the_children_are_gone(final: conditions.Summary) -> None:
    job = over(started(a_job()), final)
    plan = decide(seen(job), POLICY)
    assert (plan.action, plan.look_again_after, plan.status.phase) == (None, None, final.phase)


def test_the_finalizer_is_dropped() -> None:
    assert decide(seen(over(a_hosted(), FAILED)), POLICY).action == DropFinalizer()


def test_the_ttl_is_set_on_every_child_that_lacks_it() -> None:
    job = over(started(a_job(spec={"ttlSecondsAfterFinished": 60}), attempt=2), FAILED)
    done = {"state": ChildState.FAILED}
    first = a_child(job, attempt=1, has_ttl=True, **done)
    second = a_child(job, attempt=2, **done)
    going = a_child(job, prepare=0, deleting=True, state=ChildState.COMPLETE)
    plan = decide(seen(job, first, going, second), POLICY)
    assert plan.action == SetTtl(name=second.name, seconds=60)


def test_an_edit_after_the_end_is_observed() -> None:
    job = over(started(a_job(generation=2)), FAILED)
    status = job.status.model_copy(update={"observed_generation": 1})
    plan = decide(seen(job.model_copy(update={"status": status})), POLICY)
    assert plan.status.observed_generation == 2


# Deletion


def going(job: FineTuneJob, **annotations: str) -> FineTuneJob:
    meta = job.metadata.model_copy(
        update={"deletion_timestamp": stamp(-9999), "annotations": annotations}
    )
    return job.model_copy(update={"metadata": meta})


@pytest.mark.parametrize(
    ("observed", "want"),
    [
        pytest.param(seen(going(started(a_job()))), None, id="in the cluster: owners see to it"),
        pytest.param(
            seen(going(a_hosted()), remote=a_remote()),
            CancelRemote(job_id="ftjob-1"),
            id="a running hosted job is cancelled",
        ),
        pytest.param(
            seen(going(a_hosted()), remote=a_remote("cancelled")), DropFinalizer(), id="until it is"
        ),
        pytest.param(
            seen(going(a_hosted())), Refresh(job_id="ftjob-1"), id="one not seen yet is asked for"
        ),
        pytest.param(
            seen(going(over(a_hosted(), FAILED))), DropFinalizer(), id="nothing to do after the end"
        ),
        pytest.param(
            seen(going(prepared(a_job(hosted=True, held=True)))),
            DropFinalizer(),
            id="nothing was submitted",
        ),
        pytest.param(
            seen(going(a_hosted(**{"deletionPolicy.job": "Keep"})), remote=a_remote()),
            DropFinalizer(),
            id="the policy is to let it run",
        ),
        pytest.param(
            seen(going(a_hosted(), **{DETACH_ANNOTATION: "true"}), remote=a_remote()),
            DropFinalizer(),
            id="detached",
        ),
        pytest.param(
            seen(going(a_hosted(), **{DETACH_ANNOTATION: "yes"}), remote=a_remote()),
            CancelRemote(job_id="ftjob-1"),
            id="detached in other words",
        ),
    ],
)
def test_deletion(observed: Observed, want: Any) -> None:
    assert decide(observed, POLICY).action == want


@pytest.mark.parametrize(
    ("known", "want"),
    [
        pytest.param(facts(here=True), DropFinalizer, id="never sent"),
        pytest.param(facts(since=0), Look, id="perhaps sent by the leader before"),
        pytest.param(facts(since=-99, looked=-1), DropFinalizer, id="surely never sent"),
    ],
)
def test_deletion_with_a_submission_in_doubt(known: Any, want: type) -> None:
    job = going(submitted(a_job(hosted=True, held=True), job_id=None))
    assert isinstance(decide(seen(job, submission=known), POLICY).action, want)


@pytest.mark.parametrize(
    ("since", "job_id", "want"),
    [
        pytest.param(
            0, "ftjob-1", Refresh(job_id="ftjob-1"), id="deleted while nobody was looking"
        ),
        pytest.param(-599, "ftjob-1", Refresh(job_id="ftjob-1"), id="insisting for ten minutes"),
        pytest.param(-601, "ftjob-1", DropFinalizer(orphaned="ftjob-1"), id="then letting go"),
        pytest.param(-601, None, DropFinalizer(orphaned="marker"), id="by its marker at least"),
    ],
)
def test_credentials_that_are_gone_do_not_hold_an_object_for_ever(
    since: float, job_id: str | None, want: Any
) -> None:
    job = going(submitted(a_job(hosted=True, held=True), job_id=job_id))
    part = job.status.azure_open_ai
    assert part is not None
    assert part.submission is not None
    if want == DropFinalizer(orphaned="marker"):
        want = DropFinalizer(orphaned=part.submission.marker)
    doubt = facts(since=-10, looked=-1)
    plan = decide(seen(job, deleting_since=at(since), submission=doubt), POLICY)
    assert plan.action == want


def test_the_end_of_insisting_wakes_the_job() -> None:
    job = going(a_hosted())
    plan = decide(seen(job, remote=a_remote(), cancel_sent=True, deleting_since=at(-590)), POLICY)
    assert plan.look_again_after == 10


def test_a_deletion_without_our_finalizer_is_nobody_of_ours() -> None:
    plan = decide(seen(going(a_job(hosted=True)), deleting_since=NOW), POLICY)
    assert (plan.action, plan.look_again_after) == (None, None)
