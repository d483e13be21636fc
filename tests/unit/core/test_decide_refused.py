"""What the service will not do: it does not know the job any more, or it will not pause it."""

from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.plan import (
    CancelRemote,
    DropFinalizer,
    PauseRemote,
    ResumeRemote,
    WriteStatus,
)
from support.builders import (
    POLICY,
    UNKNOWN_REMOTE,
    a_job,
    a_remote,
    condition,
    reason_of,
    seen,
    submitted,
    told,
)

LONG_AGO = -7200.0
"""Seconds; when the attempts here began, unless said otherwise."""
CANCELLING = conditions.cancelling(Phase.RUNNING, "Cancelling")
PAUSING = conditions.pausing(Phase.RUNNING, "Pausing")
SAID = "my-account does not pause hosted job ftjob-1. The service says: not this model."


def a_hosted(*, deleting: bool = False, since: float = LONG_AGO, **spec: Any) -> FineTuneJob:
    return submitted(a_job(hosted=True, held=True, spec=spec, deleting=deleting), since=since)


# Unknown to the service


@pytest.mark.parametrize(
    ("job", "want_look"),
    [
        pytest.param(
            told(a_hosted(cancel=True), CANCELLING, at_second=-10), 290, id="cancel: just asked"
        ),
        pytest.param(
            told(a_hosted(cancel=True, since=-5), CANCELLING, at_second=-5),
            295,
            id="cancel: just submitted, and late to show",
        ),
        pytest.param(a_hosted(activeDeadlineSeconds=7190), 290, id="deadline: just over"),
    ],
)
def test_the_service_is_asked_on_for_a_while(job: FineTuneJob, want_look: float) -> None:
    plan = decide(seen(job, remote=UNKNOWN_REMOTE), POLICY)
    assert (plan.action, plan.look_again_after) == (None, want_look)
    assert reason_of(plan) == Reason.REMOTE_JOB_NOT_FOUND
    assert not conditions.is_finished(plan.status)


def test_that_a_cancellation_was_asked_for_is_written_down_first() -> None:
    action = decide(seen(a_hosted(cancel=True), remote=UNKNOWN_REMOTE), POLICY).action
    assert isinstance(action, WriteStatus)
    assert conditions.cancel_was_asked(action.status)


def test_a_job_that_shows_again_is_cancelled_after_all() -> None:
    job = told(a_hosted(cancel=True), CANCELLING, at_second=-10)
    waiting = decide(seen(job, remote=UNKNOWN_REMOTE), POLICY).status
    again = job.model_copy(update={"status": waiting})
    assert decide(seen(again, remote=a_remote()), POLICY).action == CancelRemote(job_id="ftjob-1")


@pytest.mark.parametrize(
    ("job", "want_phase"),
    [
        pytest.param(
            told(a_hosted(cancel=True), CANCELLING, at_second=-301), Phase.CANCELLED, id="cancel"
        ),
        pytest.param(a_hosted(activeDeadlineSeconds=6000), Phase.FAILED, id="deadline"),
    ],
)
def test_then_it_ends_and_says_that_the_service_did_not_know_the_job(
    job: FineTuneJob, want_phase: Phase
) -> None:
    plan = decide(seen(job, remote=UNKNOWN_REMOTE), POLICY)
    assert (plan.action, plan.status.phase) == (None, want_phase)
    assert "the service does not know job ftjob-1" in (plan.status.message or "")


def test_what_the_service_knew_to_the_end_is_not_doubted() -> None:
    job = told(a_hosted(cancel=True), CANCELLING)
    plan = decide(seen(job, remote=a_remote("cancelled")), POLICY)
    assert plan.status.message == "Cancelled as spec.cancel asks"


@pytest.mark.parametrize(
    ("since", "want"),
    [
        pytest.param(LONG_AGO, DropFinalizer(orphaned="ftjob-1"), id="let go, and counted"),
        pytest.param(-5, None, id="just submitted: it may only be late to show"),
    ],
)
def test_a_deletion_of_a_job_that_the_service_does_not_know(
    since: float, want: DropFinalizer | None
) -> None:
    plan = decide(seen(a_hosted(deleting=True, since=since), remote=UNKNOWN_REMOTE), POLICY)
    assert plan.action == want


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize(
    "before", [conditions.suspended("Paused"), conditions.pausing(Phase.RUNNING, "Pausing")]
)
def test_a_pause_of_ours_outlasts_that_the_service_does_not_know_the_job(
    before: conditions.Summary, suspend: bool
) -> None:
    job = told(a_hosted(suspend=suspend), before)
    lost = decide(seen(job, remote=UNKNOWN_REMOTE), POLICY)
    assert reason_of(lost) == Reason.REMOTE_JOB_NOT_FOUND
    assert conditions.pause_was_asked(lost.status)
    resumed = a_hosted().model_copy(update={"status": lost.status})
    known = decide(seen(resumed, remote=a_remote("paused")), POLICY)
    assert known.action == ResumeRemote(job_id="ftjob-1")


# A pause that is refused


def test_a_refused_pause_is_said_and_not_asked_for_at_every_look() -> None:
    job = told(a_hosted(suspend=True), PAUSING)
    plan = decide(seen(job, remote=a_remote(step=3), pause_refused=SAID), POLICY)
    assert (plan.action, plan.look_again_after) == (None, 300)
    assert (plan.status.message or "").startswith(SAID)
    assert "spec.cancel" in (plan.status.message or "")
    assert plan.status.phase == Phase.RUNNING
    assert conditions.is_true(plan.status, ConditionType.STALLED)
    assert conditions.pause_was_asked(plan.status)


@pytest.mark.parametrize(
    ("raw_status", "refused", "want"),
    [
        pytest.param("running", "", PauseRemote(job_id="ftjob-1"), id="asked again, later"),
        pytest.param("pausing", SAID, None, id="it pauses after all"),
        pytest.param("paused", SAID, None, id="it has paused after all"),
    ],
)
def test_a_refusal_does_not_last(raw_status: str, refused: str, want: PauseRemote | None) -> None:
    job = told(a_hosted(suspend=True), PAUSING)
    plan = decide(seen(job, remote=a_remote(raw_status, step=3), pause_refused=refused), POLICY)
    assert plan.action == want
    assert not conditions.is_true(plan.status, ConditionType.STALLED)


def test_without_the_wish_to_pause_a_refusal_is_forgotten() -> None:
    job = told(a_hosted(), PAUSING)
    plan = decide(seen(job, remote=a_remote(step=3), pause_refused=SAID), POLICY)
    assert (plan.action, reason_of(plan)) == (None, Reason.RUNNING)
    assert condition(plan.status, ConditionType.SUSPENDED) is None


def test_a_paused_job_that_is_lost_and_resumed_is_not_called_suspended() -> None:
    job = told(a_hosted(), conditions.suspended("The service paused the job"))
    status = decide(seen(job, remote=UNKNOWN_REMOTE), POLICY).status
    assert status.phase == Phase.RUNNING
    assert conditions.pause_was_asked(status), "if it is found again it is resumed"
    assert "delete this FineTuneJob and create a new one" in (status.message or "")
