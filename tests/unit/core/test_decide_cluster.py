"""Training in the cluster: attempts, replacements, retries, the result."""

from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.pods import ProgressMetric, TrainerReport, TrainerStatus
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import CheckpointStatus, KubernetesStatus, Resolved
from finetune_operator.core import conditions, names
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState, ReportedProgress
from finetune_operator.core.plan import (
    ConfirmAbsent,
    CreateTraining,
    DeleteChild,
    ExportResult,
    Plan,
    ReadPods,
    WriteStatus,
)
from support.builders import (
    NOW,
    POLICY,
    a_child,
    a_job,
    a_pod,
    at,
    condition,
    prepared,
    seen,
    stamp,
    started,
    told,
    with_status,
)

DONE, GONE_WRONG = ChildState.COMPLETE, ChildState.FAILED


def progress_of(child_uid: str, pod_name: str, **metrics: str) -> ReportedProgress:
    return ReportedProgress(
        job_uid=child_uid,
        pod_name=pod_name,
        status=TrainerStatus(
            progress_percentage=20,
            metrics=[ProgressMetric(name=name, value=value) for name, value in metrics.items()],
        ),
        received_at=NOW,
    )


def reason_of(plan: Plan) -> str:
    ready = condition(plan.status, ConditionType.READY)
    assert ready is not None
    return ready.reason


def test_the_attempt_is_written_down_before_its_job_is_created() -> None:
    plan = decide(seen(prepared(a_job(generation=3))), POLICY)
    assert isinstance(plan.action, WriteStatus)
    assert plan.action.status.started_generation == 3
    assert plan.action.status.attempt == 1
    assert plan.action.status.start_time == stamp(0)


def test_then_it_is_created() -> None:
    assert decide(seen(started(a_job())), POLICY).action == CreateTraining(attempt=1)


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
    told_by_pod = progress_of(child.uid, "p", step="120", totalSteps="600", loss="0.83")
    status = decide(seen(job, child, pods=(a_pod(child),), progress=told_by_pod), POLICY).status
    assert status.message == "Step 120 of 600, loss 0.83"
    assert status.progress is not None
    assert (status.progress.text, status.progress.step) == ("20%", 120)
    assert status.attempts is not None
    assert (status.attempts[-1].step, status.attempts[-1].node) == (120, "node-1")
    assert status.kubernetes is not None
    assert status.kubernetes.pod_name == a_pod(child).name


def test_the_report_of_an_earlier_attempts_pod_counts_for_nothing() -> None:
    job = started(a_job(), attempt=2)
    child = a_child(job, attempt=2)
    late = progress_of("uid-of-attempt-1", "p", step="599")
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
    assert (plan.look_again_after is None) == suspended, "only the queue's own change wakes it"


# Its end


def _end(job: FineTuneJob, report: TrainerReport | None, **pod: Any) -> Plan:
    child = a_child(job, attempt=job.status.attempt, state=GONE_WRONG if pod["exit_code"] else DONE)
    phase = "Failed" if pod["exit_code"] else "Succeeded"
    last = a_pod(child, phase=phase, words=report or "", **pod)
    return decide(seen(job, child, pods=(last,), exported=True), POLICY)


RESULT = TrainerReport(
    code=0,
    reason="Succeeded",
    message="Done",
    step=8,
    resolved={"learningRate": Resolved(value="2e-4", reason="default for supervised LoRA")},
    checkpoint=CheckpointStatus(step=8, path="checkpoints/checkpoint-8", saved_at=stamp(-20)),
    result_path="result",
)


@pytest.mark.parametrize("peft", ["LoRA", "None"])
def test_success_refers_to_the_model(peft: str) -> None:
    job = started(a_job(spec={"parameterEfficient": {"type": peft}}))
    status = _end(job, RESULT, exit_code=0).status
    claim = names.output_claim_name(job)
    assert status.phase == Phase.SUCCEEDED
    assert status.result is not None
    assert status.result.model == f"pvc://{claim}/tune/result"
    assert status.resolved == RESULT.resolved
    assert status.progress is not None
    assert status.progress.text == "100%"
    assert status.attempts is not None
    assert (status.attempts[-1].reason, status.attempts[-1].end_time) == ("Succeeded", stamp(0))
    assert status.kubernetes is not None
    assert status.kubernetes.checkpoint is not None
    assert status.kubernetes.checkpoint.path == f"pvc://{claim}/tune/checkpoints/checkpoint-8"
    assert conditions.is_true(status, ConditionType.TRAINING_COMPLETE)


def test_a_named_volume_is_where_the_result_lies() -> None:
    volume = {"claimName": "models", "path": "team-a/orca/"}
    status = _end(started(a_job(spec={"output.volume": volume})), RESULT, exit_code=0).status
    assert status.result is not None
    assert status.result.model == "pvc://models/team-a/orca/result"


def test_the_result_is_exported_before_success_is_told() -> None:
    job = started(a_job())
    child = a_child(job, state=DONE)
    pod = a_pod(child, phase="Succeeded", words=RESULT)
    plan = decide(seen(job, child, pods=(pod,)), POLICY)
    assert isinstance(plan.action, ExportResult)
    assert dict(plan.action.data)["jobName"] == child.name


def test_a_finished_job_waits_for_the_words_of_its_pod() -> None:
    job = started(a_job())
    child = a_child(job, state=DONE)
    assert decide(seen(job, child, pods=(a_pod(child),)), POLICY).action == ReadPods()
    # The API server says that there is none: it is a success all the same.
    plan = decide(seen(job, child, pods_confirmed=True, exported=True), POLICY)
    assert plan.status.phase == Phase.SUCCEEDED


CRASHED = TrainerReport(code=70, reason="TrainingFailed", message="A bug", step=3)


@pytest.mark.parametrize(
    ("retries", "policy", "want_phase", "want_reason", "want_in_message"),
    [
        pytest.param(
            None,
            None,
            Phase.PENDING,
            Reason.RETRYING,
            "A bug; trying again (1 of 3)",
            id="the first of three",
        ),
        pytest.param(
            2, None, Phase.PENDING, Reason.RETRYING, "trying again (3 of 3)", id="the last of three"
        ),
        pytest.param(
            3,
            None,
            Phase.FAILED,
            Reason.TRAINING_FAILED,
            "A bug; all 3 retries are used",
            id="none left",
        ),
        pytest.param(None, 0, Phase.FAILED, Reason.TRAINING_FAILED, "A bug", id="none wanted"),
        pytest.param(
            4, 5, Phase.PENDING, Reason.RETRYING, "trying again (5 of 5)", id="more wanted"
        ),
    ],
)
def test_retries_are_counted(
    retries: int | None,
    policy: int | None,
    want_phase: Phase,
    want_reason: Reason,
    want_in_message: str,
) -> None:
    spec = {} if policy is None else {"retryPolicy.maxRetries": policy}
    plan = _end(started(a_job(spec=spec), retries=retries), CRASHED, exit_code=70)
    assert (plan.status.phase, reason_of(plan)) == (want_phase, want_reason)
    assert want_in_message in (plan.status.message or "")
    assert plan.status.attempts is not None
    last = plan.status.attempts[-1]
    assert (last.end_time, last.reason, last.step) == (stamp(0), "TrainingFailed", 3)
    assert plan.look_again_after == 0


@pytest.mark.parametrize("code", [65, 72, 73, 74, 78, 137])
def test_what_a_retry_cannot_mend_is_not_retried(code: int) -> None:
    assert _end(started(a_job()), None, exit_code=code).status.phase == Phase.FAILED


def test_data_that_changed_between_attempts_ends_the_job() -> None:
    report = TrainerReport(code=65, reason="DataChanged", message="train.jsonl is another one now")
    plan = _end(started(a_job(), attempt=2), report, exit_code=65)
    assert (plan.status.phase, reason_of(plan)) == (Phase.FAILED, "DataChanged")


@pytest.mark.parametrize(
    ("ended", "want_action", "want_look"),
    [
        pytest.param(-4, False, 6, id="not before 10 s are over"),
        pytest.param(-11, True, None, id="then as a new attempt"),
    ],
)
def test_a_retry_is_delayed(ended: float, want_action: bool, want_look: float | None) -> None:
    job = started(a_job(), retries=1)
    assert job.status.attempts
    attempt = job.status.attempts[0].model_copy(update={"end_time": stamp(ended)})
    job = with_status(job, attempts=[attempt])
    job = told(job, conditions.working(Phase.PENDING, Reason.RETRYING, "Trying again"))
    plan = decide(seen(job, a_child(job, state=GONE_WRONG)), POLICY)
    assert isinstance(plan.action, WriteStatus) == want_action
    if want_action:
        assert isinstance(plan.action, WriteStatus)
        assert plan.action.status.attempt == 2
    else:
        assert (plan.look_again_after, plan.status.phase) == (want_look, Phase.PENDING)


# Lost pods and lost children


def _replaced(replacements: int | None, reached: int, saved: int, steps: str | None) -> Plan:
    kubernetes = KubernetesStatus(
        job_name="x",
        pod_name="pod-1",
        checkpoint=CheckpointStatus(step=saved) if saved else None,
        replacements=replacements,
        replaced_at_step=reached,
    )
    job = started(a_job(), kubernetes=kubernetes)
    child = a_child(job)
    told_by_pod = progress_of(child.uid, "pod-1", step=steps) if steps else None
    pod = a_pod(child, name="pod-2")
    return decide(seen(job, child, pods=(pod,), progress=told_by_pod), POLICY)


@pytest.mark.parametrize(
    ("replacements", "reached", "saved", "steps", "want"),
    [
        pytest.param(None, 0, 0, None, (1, 0), id="the first pod is lost before a step"),
        pytest.param(3, 40, 0, "50", (1, 50), id="a step was gained: counted from anew"),
        pytest.param(3, 40, 45, None, (1, 45), id="a checkpoint beyond was saved"),
        pytest.param(3, 40, 0, "35", (4, 40), id="less far than before"),
        pytest.param(4, 40, 0, "38", (5, 40), id="further than last time, less than ever"),
    ],
)
def test_lost_pods_are_counted_while_no_step_is_gained(
    replacements: int | None, reached: int, saved: int, steps: str | None, want: tuple[int, int]
) -> None:
    kubernetes = _replaced(replacements, reached, saved, steps).status.kubernetes
    assert kubernetes is not None
    assert (kubernetes.replacements, kubernetes.replaced_at_step) == want


def test_the_tenth_loss_without_a_step_is_the_last() -> None:
    plan = _replaced(9, 40, 0, "35")
    assert (plan.status.phase, reason_of(plan)) == (Phase.FAILED, Reason.NO_PROGRESS)
    assert plan.look_again_after == 0, "its child is stopped next"


def test_a_new_attempt_counts_as_a_replacement() -> None:
    kubernetes = KubernetesStatus(replacements=2, replaced_at_step=5)
    job = started(a_job(), attempt=2, kubernetes=kubernetes)
    child = a_child(job, attempt=2)
    status = decide(seen(job, child, pods=(a_pod(child),)), POLICY).status
    assert status.kubernetes is not None
    assert status.kubernetes.replacements == 3


def test_the_first_pod_is_no_replacement() -> None:
    job = started(a_job())
    child = a_child(job)
    status = decide(seen(job, child, pods=(a_pod(child),)), POLICY).status
    assert status.kubernetes is not None
    assert (status.kubernetes.replacements, status.kubernetes.replaced_at_step) == (None, 0)


def test_a_child_that_is_not_seen_is_asked_for_before_it_is_believed_lost() -> None:
    job = started(a_job(), kubernetes=KubernetesStatus(job_name="tune-x-a1"))
    assert decide(seen(job), POLICY).action == ConfirmAbsent(name="tune-x-a1")
    plan = decide(seen(job, confirmed_absent=True), POLICY)
    assert reason_of(plan) == Reason.RETRYING
    assert "was deleted" in (plan.status.message or "")


def test_a_child_that_somebody_deletes_ends_its_attempt() -> None:
    job = started(a_job())
    plan = decide(seen(job, a_child(job, deleting=True)), POLICY)
    assert (reason_of(plan), plan.status.retries) == (Reason.RETRYING, 1)


def test_two_attempts_never_share_a_volume() -> None:
    job = started(a_job(), attempt=2)
    old = a_child(job, attempt=1)
    assert decide(seen(job, old), POLICY).action == DeleteChild(name=old.name, uid=old.uid)
    waiting = decide(seen(job, a_child(job, attempt=1, deleting=True)), POLICY)
    assert waiting.action is None
    assert waiting.status.message == f"Waiting for Job {old.name} to stop"


def test_the_deadline_wakes_the_job() -> None:
    job = started(a_job(spec={"activeDeadlineSeconds": 130}), since=-100)
    child = a_child(job)
    assert decide(seen(job, child, pods=(a_pod(child),)), POLICY).look_again_after == 30


def test_the_newest_of_two_pods_counts() -> None:
    job = started(a_job())
    child = a_child(job)
    lost = a_pod(child, name="lost", phase="Failed", exit_code=75, finished=at(-41), created=-42)
    new = a_pod(child, name="new", created=-42)
    status = decide(seen(job, child, pods=(new, lost)), POLICY).status
    assert status.kubernetes is not None
    assert status.kubernetes.pod_name == "new"


LARGE = {"kubernetes.resources": {"limits": {"memory": "640Gi"}}}


@pytest.mark.parametrize(
    ("phase", "want_over"),
    [
        pytest.param("Pending", True, id="it waits for room that there is not"),
        pytest.param(None, True, id="it was not even created"),
        pytest.param("Running", False, id="it runs by now: effective at the next attempt"),
    ],
)
def test_settings_that_were_mended_replace_a_pod_that_cannot_start(
    phase: str | None, want_over: bool
) -> None:
    child = a_child(started(a_job(spec=LARGE)))
    job = started(a_job(generation=2), retries=1)
    pods = () if phase is None else (a_pod(child, phase=phase),)
    plan = decide(seen(job, child, pods=pods, events=()), POLICY)
    assert plan.status.attempts is not None
    assert (plan.status.attempts[-1].end_time is not None) == want_over
    assert plan.status.retries == 1, "it costs none"
    if want_over:
        ended = job.model_copy(update={"status": plan.status})
        assert plan.look_again_after == 0
        assert isinstance(decide(seen(ended, child), POLICY).action, DeleteChild)
        assert isinstance(decide(seen(ended), POLICY).action, WriteStatus)
