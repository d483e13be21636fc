"""Training in the cluster: the attempt, its end, its result and its retries."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.pods import TrainerReport
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import CheckpointStatus, Metrics, Resolved
from finetune_operator.core import conditions, names
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState, Found
from finetune_operator.core.plan import CreateTraining, ExportResult, Plan, ReadPods, WriteStatus
from support.builders import (
    POLICY,
    a_child,
    a_job,
    a_pod,
    a_success,
    condition,
    prepared,
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


# Retries


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
