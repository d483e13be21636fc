"""Training in the cluster: attempts, replacements, retries, the result."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.pods import PrepareReport, TrainerReport
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import CheckpointStatus, KubernetesStatus, Metrics, Progress, Resolved
from finetune_operator.core import conditions, names
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState, Found
from finetune_operator.core.plan import (
    ConfirmAbsent,
    CreateTraining,
    DeleteChild,
    ExportResult,
    FindClaim,
    Plan,
    ReadPods,
    WriteStatus,
)
from support.builders import (
    POLICY,
    a_child,
    a_data_report,
    a_job,
    a_pod,
    a_success,
    an_event,
    at,
    condition,
    prepared,
    progress_of,
    reason_of,
    seen,
    stamp,
    started,
    told,
    with_status,
)

DONE, GONE_WRONG = ChildState.COMPLETE, ChildState.FAILED


def test_the_attempt_is_written_down_before_its_job_is_created() -> None:
    plan = decide(seen(prepared(a_job(generation=3))), POLICY)
    assert isinstance(plan.action, WriteStatus)
    assert plan.action.status.started_generation == 3
    assert plan.action.status.attempt == 1
    assert plan.action.status.start_time == stamp(0)


def test_then_it_is_created() -> None:
    assert decide(seen(started(a_job())), POLICY).action == CreateTraining(attempt=1)


# Its end


def _end(job: FineTuneJob, report: TrainerReport | None, **pod: Any) -> Plan:
    child = a_child(job, attempt=job.status.attempt, state=GONE_WRONG if pod["exit_code"] else DONE)
    phase = "Failed" if pod["exit_code"] else "Succeeded"
    last = a_pod(child, phase=phase, words=report or "", **pod)
    return decide(seen(job, child, pods=(last,), exported=True), POLICY)


RESULT = a_success(
    step=8,
    resolved={"learningRate": Resolved(value="2e-4", reason="default for supervised LoRA")},
    checkpoint=CheckpointStatus(step=8, path="checkpoints/checkpoint-8", saved_at=stamp(-20)),
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


def test_the_place_of_the_result_is_where_the_trainer_says() -> None:
    report = a_success(result_path="models/last")
    status = _end(started(a_job()), report, exit_code=0).status
    assert status.result is not None
    assert status.result.model.endswith("/tune/models/last")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("", id="none, by another image"),
        pytest.param("Hello from Docker!", id="words that are no report"),
        pytest.param(a_success(result_path=None), id="a report of no result"),
        pytest.param(a_success(code=70), id="a report of a failure"),
    ],
)
def test_an_exit_code_of_zero_alone_is_no_success(words: TrainerReport | str) -> None:
    job = started(a_job())
    child = a_child(job, state=DONE)
    pod = a_pod(child, phase="Succeeded", words=words)
    plan = decide(seen(job, child, pods=(pod,)), POLICY)
    assert plan.action is None, "nothing is exported"
    assert (plan.status.phase, reason_of(plan)) == (Phase.FAILED, Reason.TRAINING_FAILED)
    assert "left no report of a result: check spec.kubernetes.image" in (plan.status.message or "")
    assert plan.status.result is None


def test_a_finished_job_waits_for_the_words_of_its_pod() -> None:
    job = started(a_job())
    child = a_child(job, state=DONE)
    assert decide(seen(job, child, pods=(a_pod(child),)), POLICY).action == ReadPods()
    # The API server says that there is none: a trainer that finds its result will tell.
    plan = decide(seen(job, child, pods_confirmed=True), POLICY)
    assert (plan.action, reason_of(plan), plan.status.retries) == (None, Reason.RETRYING, 1)
    assert "was gone before its report of the result was read" in (plan.status.message or "")


def test_a_pod_that_was_lost_before_does_not_speak_for_a_finished_job() -> None:
    job = started(a_job())
    child = a_child(job, state=DONE)
    lost = a_pod(child, name="lost", phase="Failed", exit_code=75)
    plan = decide(seen(job, child, pods=(lost,), pods_confirmed=True), POLICY)
    assert reason_of(plan) == Reason.RETRYING
    done = a_pod(child, name="done", phase="Succeeded", words=a_success(), deleting=True)
    plan = decide(seen(job, child, pods=(lost, done), exported=True), POLICY)
    assert plan.status.phase == Phase.SUCCEEDED


def test_a_pod_that_went_right_after_its_success_has_told_its_figures() -> None:
    job = started(a_job())
    child = a_child(job, state=DONE)
    losses = Metrics(train_loss="0.5", validation_loss="0.75")
    gone = a_pod(child, phase="Succeeded", words=RESULT.model_copy(update={"metrics": losses}))
    around = seen(job, child, departed=gone, pods_confirmed=True, exported=True)
    status = decide(around, POLICY).status
    assert status.phase == Phase.SUCCEEDED
    assert (status.resolved, status.metrics) == (RESULT.resolved, losses)


def test_a_success_that_was_heard_in_an_earlier_round_is_remembered() -> None:
    job = started(a_job())
    gone = a_pod(a_child(job), phase="Succeeded", words=RESULT)
    running = decide(seen(job, a_child(job), departed=gone), POLICY).status
    assert running.result is not None
    later = seen(with_status(job, result=running.result), a_child(job, state=DONE))
    plan = decide(replace(later, exported=True, found=Found(pods_confirmed=True)), POLICY)
    assert plan.status.phase == Phase.SUCCEEDED
    # The next attempt must tell of its own.
    lost = decide(seen(with_status(job, result=running.result, attempts=[])), POLICY)
    assert isinstance(lost.action, WriteStatus)
    assert lost.action.status.result is None


CRASHED = TrainerReport(code=70, reason="TrainingFailed", message="A bug.", step=3)


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


def test_data_that_the_trainer_refuses_is_not_called_in_order() -> None:
    report = TrainerReport(code=65, reason="DataInvalid", message="No row has an answer.")
    status = _end(started(a_job()), report, exit_code=65).status
    valid = condition(status, ConditionType.DATA_VALID)
    assert valid is not None
    assert (valid.status, valid.reason) == ("False", "DataInvalid")
    assert valid.message == "No row has an answer"


# Lost pods and lost children


@pytest.mark.parametrize(
    ("due", "want_in_message", "want_stalled", "want_look"),
    [
        pytest.param(100, "to save a checkpoint and stop", False, 130, id="within its grace"),
        pytest.param(-29, "to save a checkpoint and stop", False, 1, id="its end is not told yet"),
        pytest.param(
            -31,
            "on node node-1 should have stopped by 2026-11-22 11:59:29 UTC: if the node is gone,"
            " delete",
            True,
            None,
            id="with a lost node: for ever",
        ),
    ],
)
def test_a_pod_that_does_not_stop(
    due: float, want_in_message: str, want_stalled: bool, want_look: float | None
) -> None:
    job = started(a_job())
    child = a_child(job)
    pod = a_pod(child, deleting=True, due=at(due), disrupted=True)
    plan = decide(seen(job, child, pods=(pod,)), POLICY)
    assert want_in_message in (plan.status.message or "")
    assert conditions.is_true(plan.status, ConditionType.STALLED) == want_stalled
    assert (plan.status.phase, plan.look_again_after) == (Phase.RUNNING, want_look)


@pytest.mark.parametrize("whose", ["its own", "the user's"])
@pytest.mark.parametrize("kind", ["ConfigMap", "PersistentVolumeClaim"])
def test_what_the_operator_made_is_not_the_users_to_mend(kind: str, whose: str) -> None:
    job = started(a_job())
    child = a_child(job)
    pod = a_pod(child, phase="Pending")
    own = {"ConfigMap": child.name, "PersistentVolumeClaim": names.output_claim_name(job)}[kind]
    name = own if whose == "its own" else "gsm8k"
    said = f'MountVolume.SetUp failed for volume "x" : {kind.lower()} "{name}" not found'
    plan = decide(seen(job, child, pods=(pod,), events=(an_event("FailedMount", said),)), POLICY)
    assert plan.status.attempts is not None
    again = plan.status.attempts[-1].end_time is not None
    assert again == (whose == "its own"), "its Job is stopped, another attempt has one of its own"
    assert plan.status.retries is None
    if again:
        assert plan.status.message == f"{kind} {name} was deleted: starting again with a new one"


SAVED = KubernetesStatus(checkpoint=CheckpointStatus(step=42), replaced_at_step=42)
OWNED = KubernetesStatus(claim_policy="Delete")


def _resumed(kubernetes: KubernetesStatus, message: str | None = None, **spec: Any) -> FineTuneJob:
    """Between two attempts."""
    job = started(a_job(spec=spec), kubernetes=kubernetes, progress=Progress(step=44))
    assert job.status.attempts
    over = job.status.attempts[0].model_copy(update={"end_time": stamp(-9), "message": message})
    return with_status(job, attempts=[over])


@pytest.mark.parametrize(
    ("job", "want"),
    [
        pytest.param(_resumed(SAVED), True, id="a checkpoint is in it"),
        pytest.param(
            _resumed(OWNED, deletionPolicy={"model": "Delete"}), True, id="it goes with the job"
        ),
        pytest.param(_resumed(KubernetesStatus()), False, id="status says nothing of it"),
        pytest.param(
            _resumed(SAVED, output={"volume": {"claimName": "models", "path": "orca"}}),
            False,
            id="the user's own volume",
        ),
    ],
)
def test_the_claim_is_looked_for_before_an_attempt_builds_on_it(
    job: FineTuneJob, want: bool
) -> None:
    first = decide(seen(job), POLICY).action
    assert (first == FindClaim(name=names.output_claim_name(job))) == want
    assert isinstance(decide(seen(job, claim_there=True), POLICY).action, WriteStatus)


@pytest.mark.parametrize(
    ("before", "want_before"),
    [
        pytest.param(None, "", id="after a pause"),
        pytest.param("A bug.", "A bug; ", id="after a failure"),
    ],
)
def test_a_claim_that_is_gone_is_told_and_its_checkpoint_forgotten(
    before: str | None, want_before: str
) -> None:
    job = _resumed(SAVED, before)
    plan = decide(seen(job, claim_there=False), POLICY)
    told_so = (
        f"PersistentVolumeClaim {names.output_claim_name(job)} was deleted, and with it the"
        " checkpoint of step 42: training starts from the beginning, with a new one"
    )
    assert (plan.action, plan.look_again_after) == (None, 0)
    assert (plan.status.message, reason_of(plan)) == (told_so, Reason.CHECKPOINT_LOST)
    assert plan.status.attempts is not None
    assert plan.status.attempts[-1].message == want_before + told_so, "it stays to be read"
    assert (plan.status.kubernetes, plan.status.progress) == (KubernetesStatus(), None)
    forgotten = job.model_copy(update={"status": plan.status})
    after = decide(seen(forgotten, claim_there=False), POLICY)
    assert isinstance(after.action, WriteStatus)
    assert after.action.status.attempt == 2


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


LAST = TrainerReport(
    code=75, reason="Preempted", message="Stopped", step=9,
    checkpoint=CheckpointStatus(step=9, path="checkpoints/checkpoint-9"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "created", "known", "want"),
    [
        pytest.param(LAST, -50, 6, 9, id="it saved once more: status follows"),
        pytest.param(LAST, -50, 12, 12, id="another pod is further by now"),
        pytest.param(LAST, -500, 6, 6, id="a pod of an earlier attempt"),
        pytest.param("", -50, 6, 6, id="it left no words"),
        pytest.param(a_data_report(), -50, None, None, id="a prepare pod"),
    ],
)
def test_the_last_words_of_a_pod_that_is_gone_already(
    words: TrainerReport | PrepareReport | str, created: float, known: int | None, want: int | None
) -> None:
    saved = KubernetesStatus(checkpoint=CheckpointStatus(step=known) if known else None)
    job = started(a_job(), kubernetes=saved)
    child = a_child(job)
    gone = a_pod(child, phase="Failed", words=words, created=created, name="gone", deleting=True)
    successor = a_pod(child, phase="Pending", created=-1)

    status = decide(seen(job, child, pods=(successor,), departed=gone), POLICY).status

    assert status.kubernetes is not None
    checkpoint = status.kubernetes.checkpoint
    assert (checkpoint.step if checkpoint else None) == want
    assert status.kubernetes.pod_name == successor.name, "it counts as gone"


def test_last_words_are_heard_although_the_job_went_with_its_pod() -> None:
    job = started(a_job(spec={"suspend": True}))
    gone = a_pod(a_child(job), phase="Failed", words=LAST, deleting=True)

    status = decide(seen(job, departed=gone), POLICY).status

    assert status.kubernetes is not None
    assert status.kubernetes.checkpoint is not None
    assert status.kubernetes.checkpoint.step == 9
