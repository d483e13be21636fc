"""Pods and children that are lost, replaced or do not stop, and their last words."""

import pytest

from finetune_api.pods import PrepareReport, TrainerReport
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import CheckpointStatus, KubernetesStatus, Progress
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState
from finetune_operator.core.plan import ConfirmAbsent, DeleteChild, Plan, WriteStatus
from support.builders import (
    POLICY,
    a_child,
    a_data_report,
    a_job,
    a_pod,
    at,
    prepared,
    progress_of,
    reason_of,
    seen,
    stamp,
    started,
    with_status,
)


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
    told_by_pod = progress_of(child.uid, step=steps) if steps else None
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


def test_an_attempt_is_numbered_above_those_that_a_lost_status_told_of() -> None:
    """Else it would be judged by what became of an old one of its number."""
    job = prepared(a_job())
    old = a_child(job, attempt=2, state=ChildState.FAILED)
    action = decide(seen(job, old), POLICY).action
    assert isinstance(action, WriteStatus)
    assert action.status.attempt == 3


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


def test_the_newest_of_two_pods_counts() -> None:
    job = started(a_job())
    child = a_child(job)
    lost = a_pod(child, name="lost", phase="Failed", exit_code=75, finished=at(-41), created=-42)
    new = a_pod(child, name="new", created=-42)
    status = decide(seen(job, child, pods=(new, lost)), POLICY).status
    assert status.kubernetes is not None
    assert status.kubernetes.pod_name == "new"


@pytest.mark.parametrize(
    ("saved", "total", "want"),
    [
        pytest.param(10, 200, Progress(step=10, total_steps=200, percent=5, text="5%"), id="saved"),
        pytest.param(10, None, Progress(step=10), id="of how many is not known"),
        pytest.param(None, 200, None, id="nothing saved: from the beginning"),
    ],
)
def test_an_attempt_begins_with_the_step_that_was_saved(
    saved: int | None, total: int | None, want: Progress | None
) -> None:
    point = CheckpointStatus(step=saved) if saved else None
    far = Progress(step=11, total_steps=total, percent=6, text="6%", loss="0.9", epoch="0.1")
    job = started(a_job(), kubernetes=KubernetesStatus(checkpoint=point), progress=far)
    over = [one.model_copy(update={"end_time": stamp(-99)}) for one in job.status.attempts or ()]
    action = decide(seen(with_status(job, attempts=over), claim_there=True), POLICY).action
    assert isinstance(action, WriteStatus)
    assert (action.status.attempt, action.status.progress) == (2, want)


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
