"""The retry annotation: what starts anew, what is only acknowledged."""

from typing import Any

import pytest

from finetune_api.constants import RETRY_ANNOTATION
from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import CheckpointStatus, Condition, KubernetesStatus
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState
from finetune_operator.core.plan import CreatePrepare, WriteStatus
from finetune_operator.core.prepare_stage import is_prepared
from support.builders import (
    POLICY,
    a_child,
    a_job,
    a_pod,
    at,
    condition,
    over,
    prepared,
    seen,
    started,
    submitted,
    with_status,
)

TOKEN = {RETRY_ANNOTATION: "now"}
FAILED = conditions.failed(Reason.OUT_OF_MEMORY, "Killed at its memory limit")


def _over(summary: conditions.Summary, *, hosted: bool = False, **spec: Any) -> FineTuneJob:
    job = a_job(hosted=hosted, annotations=TOKEN, spec=spec)
    return over(submitted(job) if hosted else started(job, retries=3), summary)


@pytest.mark.parametrize("hosted", [False, True])
@pytest.mark.parametrize(
    "summary",
    [pytest.param(FAILED, id="failed"), pytest.param(conditions.cancelled(""), id="cancelled")],
)
def test_what_failed_or_was_cancelled_starts_anew(
    summary: conditions.Summary, hosted: bool
) -> None:
    action = decide(seen(_over(summary, hosted=hosted)), POLICY).action
    assert isinstance(action, WriteStatus)
    status = action.status
    assert status.last_handled_retry_at == "now"
    assert not conditions.is_true(status, ConditionType.STALLED), "token and Stalled go together"
    assert not conditions.is_finished(status)
    assert condition(status, ConditionType.CANCELLED) is None
    assert condition(status, ConditionType.DATA_VALID) is None
    assert (status.retries, status.start_time, status.completion_time) == (None, None, None)
    assert status.started_generation == 1, "never cleared"
    if hosted:
        assert status.azure_open_ai is not None
        assert status.azure_open_ai.job_id is None
        assert status.azure_open_ai.submission is None


def test_the_data_is_read_again() -> None:
    job = _over(FAILED)
    action = decide(seen(job), POLICY).action
    assert isinstance(action, WriteStatus)
    again = job.model_copy(update={"status": action.status})
    assert not is_prepared(seen(again))
    first = a_child(a_job(), prepare=0, state=ChildState.COMPLETE)
    assert decide(seen(again, first), POLICY).action == CreatePrepare(retry=1)


def test_a_new_run_counts_its_losses_from_anew() -> None:
    kubernetes = KubernetesStatus(
        checkpoint=CheckpointStatus(step=9), replacements=10, replaced_at_step=9, job_name="x"
    )
    action = decide(seen(with_status(_over(FAILED), kubernetes=kubernetes)), POLICY).action
    assert isinstance(action, WriteStatus)
    assert action.status.kubernetes == KubernetesStatus()


def test_the_same_token_works_once() -> None:
    job = with_status(_over(FAILED), last_handled_retry_at="now")
    plan = decide(seen(job), POLICY)
    assert (plan.action, plan.status.phase) == (None, Phase.FAILED)


def test_an_empty_token_is_none() -> None:
    job = over(started(a_job(annotations={RETRY_ANNOTATION: ""})), FAILED)
    assert decide(seen(job), POLICY).status.phase == Phase.FAILED


@pytest.mark.parametrize(
    ("summary", "spec", "generation", "want"),
    [
        pytest.param(FAILED, {}, 2, True, id="mended after it failed"),
        pytest.param(conditions.cancelled("As asked"), {}, 2, True, id="no longer cancelled"),
        pytest.param(FAILED, {}, 1, False, id="not touched"),
        pytest.param(FAILED, {"cancel": True}, 2, False, id="to be cancelled: a retry is refused"),
        pytest.param(conditions.succeeded("Done"), {}, 2, False, id="succeeded"),
    ],
)
def test_an_edit_of_what_is_over_says_what_runs_it(
    summary: conditions.Summary, spec: dict[str, Any], generation: int, want: bool
) -> None:
    ended = over(started(a_job()), summary)
    edited = a_job(generation=generation, spec=spec, status=ended.status)
    plan = decide(seen(edited), POLICY)
    assert plan.action is None
    assert (plan.status.phase, plan.status.observed_generation) == (summary.phase, generation)
    command = (
        "kubectl annotate ftj -n default tune --overwrite"
        f' {RETRY_ANNOTATION}="$(date +%s)". It ended with: {summary.message}'
    )
    assert (command in (plan.status.message or "")) == want
    again = decide(seen(edited.model_copy(update={"status": plan.status})), POLICY)
    assert again.status == plan.status, "said once"


ENDS = [
    pytest.param(FAILED, id="failed"),
    pytest.param(conditions.cancelled("As asked"), id="cancelled"),
    pytest.param(conditions.succeeded("Done"), id="succeeded"),
]


@pytest.mark.parametrize("summary", ENDS)
def test_every_condition_holds_for_an_edit_of_what_is_over(summary: conditions.Summary) -> None:
    foreign = Condition(type="a/b", status=conditions.TRUE, reason="X", last_transition_time="T")
    job = over(started(a_job()), summary)
    job = with_status(job, conditions=[*job.status.conditions, foreign])
    status = decide(seen(a_job(generation=2, status=job.status)), POLICY).status
    ours = [c for c in status.conditions if c != foreign]
    assert len(ours) + 1 == len(status.conditions) > 2
    assert {c.observed_generation for c in ours} == {2}, "kubectl wait passes over an older one"
    times = {c.type: c.last_transition_time for c in job.status.conditions}
    assert {c.type: c.last_transition_time for c in status.conditions} == times


def test_what_was_edited_again_still_tells_its_end() -> None:
    job = over(started(a_job()), FAILED)
    once = decide(seen(a_job(generation=2, status=job.status)), POLICY).status
    twice = decide(seen(a_job(generation=3, status=once)), POLICY).status
    assert (twice.message, twice.observed_generation) == (once.message, 3)


def test_an_edit_while_it_ran_is_none_since_its_end() -> None:
    job = over(started(a_job(generation=2)), FAILED)
    status = decide(seen(job), POLICY).status
    assert (status.started_generation, status.message) == (1, FAILED.message)


def test_what_asks_for_a_new_job_names_no_retry() -> None:
    summary = conditions.failed(Reason.DIVERGED, "Lower the learning rate in a new FineTuneJob")
    status = conditions.summarise(a_job().status, summary, meta=a_job().metadata, now=at(0))
    stalled = condition(status, ConditionType.STALLED)
    assert stalled is not None
    assert "kubectl annotate" not in stalled.message


def test_every_failure_says_how_it_runs_again_however_long_it_is() -> None:
    status = over(started(a_job()), conditions.failed(Reason.DATA_INVALID, "x" * 5000)).status
    stalled, ready = (
        condition(status, ConditionType.STALLED),
        condition(status, ConditionType.READY),
    )
    assert stalled is not None
    assert ready is not None
    command = f'kubectl annotate ftj -n default tune --overwrite {RETRY_ANNOTATION}="$(date +%s)"'
    assert stalled.message.endswith(f"… (to run it again: {command})")
    assert len(stalled.message) == 1024
    assert "kubectl" not in ready.message, "columns and Events stay short"


def test_what_succeeded_is_not_trained_again() -> None:
    plan = decide(seen(_over(conditions.succeeded("Done"))), POLICY)
    assert (plan.action, plan.status.phase) == (None, Phase.SUCCEEDED)
    assert plan.status.last_handled_retry_at == "now"
    assert "create a new FineTuneJob" in (plan.status.message or "")
    assert plan.look_again_after == 0, "there may be something left to clean up"


def test_a_cancel_that_still_stands_wins() -> None:
    plan = decide(seen(_over(conditions.cancelled(""), cancel=True)), POLICY)
    assert (plan.action, plan.status.phase) == (None, Phase.CANCELLED)
    assert plan.status.last_handled_retry_at == "now"
    ready = condition(plan.status, ConditionType.READY)
    assert ready is not None
    assert ready.reason == Reason.CANCEL_REQUESTED


def test_a_job_that_runs_only_acknowledges() -> None:
    job = started(a_job(annotations=TOKEN))
    child = a_child(job)
    plan = decide(seen(job, child, pods=(a_pod(child),)), POLICY)
    assert (plan.action, plan.status.phase) == (None, Phase.RUNNING)
    assert plan.status.last_handled_retry_at == "now"
    acknowledged = job.model_copy(update={"status": plan.status})
    assert is_prepared(seen(acknowledged)), "the data need not be read again for it"


def test_one_that_ends_at_that_moment_starts_anew() -> None:
    job = started(a_job(annotations=TOKEN))
    child = a_child(job, state=ChildState.FAILED)
    pod = a_pod(child, phase="Failed", exit_code=65)
    plan = decide(seen(job, child, pods=(pod,)), POLICY)
    assert (plan.status.phase, plan.status.last_handled_retry_at) == (Phase.FAILED, None)
    ended = job.model_copy(update={"status": plan.status})
    assert isinstance(decide(seen(ended, child, pods=(pod,)), POLICY).action, WriteStatus)


def test_a_pod_that_still_reads_the_data_is_replaced() -> None:
    job = a_job(annotations=TOKEN)
    child = a_child(job, prepare=0, created=-1)
    plan = decide(seen(job, child), POLICY)
    acknowledged = job.model_copy(update={"status": plan.status})
    assert plan.look_again_after == 0
    assert decide(seen(acknowledged, child), POLICY).action is not None


def test_data_in_order_stays_so_when_a_suspended_job_is_asked() -> None:
    job = prepared(a_job(annotations=TOKEN, spec={"suspend": True}))
    plan = decide(seen(job), POLICY)
    assert is_prepared(seen(job.model_copy(update={"status": plan.status})))
