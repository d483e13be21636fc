"""Status as a patch, what may wait, and what an error makes of it."""

from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import Attempt, CheckpointStatus, KubernetesStatus, Progress
from finetune_operator.core import conditions, statuses
from finetune_operator.core.errors import Ambiguous, OperatorError, Terminal, Transient
from support.builders import (
    NOW,
    a_job,
    at,
    condition,
    over,
    prepared,
    stamp,
    started,
    submitted,
    told,
    with_status,
)
from support.fake_api import merged

RUNNING = conditions.working(Phase.RUNNING, Reason.RUNNING, "Step 1")


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        pytest.param({"a": 1}, {"a": 1}, {}, id="equal"),
        pytest.param({}, {"a": 1}, {"a": 1}, id="new"),
        pytest.param({"a": 1}, {}, {"a": None}, id="gone: null"),
        pytest.param(
            {"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}, id="gone inside"
        ),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, id="new inside"),
        pytest.param({"a": [1, 2]}, {"a": [1]}, {"a": [1]}, id="lists as a whole"),
        pytest.param({"a": {"b": 1}}, {"a": 2}, {"a": 2}, id="another kind of value"),
        pytest.param({"a": 2}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="and back"),
        pytest.param({"a": {}}, {"a": {}}, {}, id="empty"),
    ],
)
def test_a_patch_turns_old_into_new(old: Any, new: Any, want: Any) -> None:
    patch = statuses.difference(old, new)
    assert patch == want
    assert merged(old, patch) == new


@pytest.mark.parametrize(
    ("change", "want"),
    [
        pytest.param({"progress": Progress(step=2, updated_at=stamp(0))}, 9, id="progress"),
        pytest.param({"message": "Step 2"}, 9, id="its sentence"),
        pytest.param(
            {"kubernetes": KubernetesStatus(checkpoint=CheckpointStatus(step=2))},
            9,
            id="a checkpoint",
        ),
        pytest.param(
            {"attempts": [Attempt(number=1, start_time=stamp(-100), step=2)]},
            9,
            id="the attempt's step",
        ),
        pytest.param(
            {"attempts": [Attempt(number=1, start_time=stamp(-100), node="n")]}, 0, id="its node"
        ),
        pytest.param({"phase": Phase.SUCCEEDED}, 0, id="the phase"),
        pytest.param({"kubernetes": KubernetesStatus(pod_name="p")}, 0, id="another pod"),
        pytest.param({"observed_generation": 2}, 0, id="a new generation"),
    ],
)
def test_only_figures_may_wait(change: dict[str, Any], want: float) -> None:
    job = told(started(a_job()), RUNNING)
    job = with_status(job, progress=Progress(step=1, updated_at=stamp(-6)))
    new = job.status.model_copy(update=change)
    assert statuses.wait_before_writing(job.status, new, NOW, 15) == want


def test_the_first_figures_and_old_ones_do_not_wait() -> None:
    job = told(started(a_job()), RUNNING)
    new = job.status.model_copy(update={"progress": Progress(step=1, updated_at=stamp(0))})
    assert statuses.wait_before_writing(job.status, new, NOW, 15) == 0
    assert statuses.wait_before_writing(new, job.status, at(16), 15) == 0


def _after(error: OperatorError, *, lasts: float = 0, job: Any = None) -> Any:
    return statuses.with_error(
        job or told(started(a_job()), RUNNING), error, now=NOW, lasts=lasts, stalled_after=300
    )


@pytest.mark.parametrize(
    ("error", "lasts", "want_true", "want_finished"),
    [
        pytest.param(Terminal(Reason.REQUEST_REFUSED, "No"), 0, {"Stalled"}, True, id="terminal"),
        pytest.param(
            Transient(Reason.RATE_LIMITED, "Wait"),
            9999,
            {"Reconciling"},
            False,
            id="passes by itself, however long",
        ),
        pytest.param(
            Transient(Reason.SECRET_NOT_FOUND, "Create it", waits_for_user=True),
            299,
            {"Reconciling"},
            False,
            id="waits for the user",
        ),
        pytest.param(
            Transient(Reason.SECRET_NOT_FOUND, "Create it", waits_for_user=True),
            300,
            {"Stalled"},
            False,
            id="waits for the user for long",
        ),
        pytest.param(
            Ambiguous(Reason.CONFIRMING_SUBMISSION, "Perhaps"),
            0,
            {"Reconciling"},
            False,
            id="ambiguous",
        ),
    ],
)
def test_an_error_is_told(
    error: OperatorError, lasts: float, want_true: set[str], want_finished: bool
) -> None:
    status = _after(error, lasts=lasts)
    assert {c.type for c in status.conditions if c.status == "True"} - {"DataValid"} == want_true
    ready = condition(status, ConditionType.READY)
    assert ready is not None
    assert (ready.reason, status.message) == (error.reason, error.message)
    assert conditions.is_finished(status) == want_finished
    assert (status.completion_time is not None) == want_finished
    assert (status.attempts[-1].end_time is not None) == want_finished
    assert status.phase == (Phase.FAILED if want_finished else Phase.RUNNING)


@pytest.mark.parametrize(
    ("message", "want"),
    [
        pytest.param("Busy: try again in 37 seconds", "Busy: try again in 5 seconds", id="figures"),
        pytest.param("Busy: ask later", "Busy: ask later", id="other words"),
    ],
)
def test_figures_that_move_in_an_error_are_no_news(message: str, want: str) -> None:
    before = conditions.working(Phase.RUNNING, Reason.RATE_LIMITED, "Busy: try again in 5 seconds")
    job = told(started(a_job()), before)
    assert _after(Transient(Reason.RATE_LIMITED, message), job=job).message == want


@pytest.mark.parametrize(
    "summary", [conditions.pausing(Phase.RUNNING, "Pausing"), conditions.suspended("Paused")]
)
def test_a_pause_of_ours_is_remembered_through_errors(summary: conditions.Summary) -> None:
    job = told(started(a_job()), summary)
    status = _after(Transient(Reason.API_ERROR, "No answer"), job=job)
    kept = condition(status, ConditionType.SUSPENDED)
    before = condition(job, ConditionType.SUSPENDED)
    assert kept is not None
    assert before is not None
    assert (kept.status, kept.reason) == (before.status, before.reason)


SUSPENDED = conditions.suspended("Suspended before anything was submitted")
ASKED = {"suspend": True}


@pytest.mark.parametrize(
    ("job", "want_phase"),
    [
        pytest.param(a_job(hosted=True), Phase.PENDING, id="resumed before anything"),
        pytest.param(prepared(a_job(hosted=True)), Phase.PENDING, id="resumed with its data read"),
        pytest.param(
            submitted(a_job(hosted=True), job_id=None), Phase.PENDING, id="resumed with a marker"
        ),
        pytest.param(
            over(started(a_job()), RUNNING), Phase.PENDING, id="resumed between two attempts"
        ),
        pytest.param(prepared(a_job(hosted=True, spec=ASKED)), Phase.SUSPENDED, id="suspended yet"),
        pytest.param(
            submitted(a_job(hosted=True)), Phase.SUSPENDED, id="resumed, paused at the service yet"
        ),
        pytest.param(started(a_job()), Phase.SUSPENDED, id="resumed while its pod stops"),
    ],
)
def test_an_error_leaves_a_job_suspended_only_while_it_is(
    job: FineTuneJob, want_phase: Phase
) -> None:
    error = Transient(Reason.SECRET_ACCESS_DENIED, "Grant it", waits_for_user=True)
    status = _after(error, lasts=300, job=told(job, SUSPENDED))
    suspended = condition(status, ConditionType.SUSPENDED) is not None
    assert (status.phase, suspended) == (want_phase, want_phase is Phase.SUSPENDED)
    assert conditions.is_true(status, ConditionType.STALLED)
