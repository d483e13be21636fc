"""The submission of a hosted job: its key, its marker, and money that is spent once."""

from datetime import timedelta

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_api.status import AzureOpenAIStatus
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import SubmissionFacts
from finetune_operator.core.plan import AddFinalizer, Authenticate, Look, Submit, WriteStatus
from support.builders import (
    POLICY,
    a_job,
    at,
    facts,
    marker_of,
    prepared,
    reason_of,
    seen,
    stamp,
    submitted,
)

HOUR = 3600.0
LAG = POLICY.list_lag
TAKEOVER = POLICY.takeover_wait + LAG


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(prepared(a_job(hosted=True)), id="of a new job"),
        pytest.param(prepared(a_job(hosted=True, held=True)), id="of one that a finalizer holds"),
    ],
)
def test_before_anything_is_written_there_is_a_key(job: FineTuneJob) -> None:
    assert decide(seen(job), POLICY).action == Authenticate()


def test_then_the_finalizer() -> None:
    job = prepared(a_job(hosted=True))
    assert decide(seen(job, authenticated=True, equals=()), POLICY).action == AddFinalizer()


def test_then_the_marker_with_what_is_frozen_by_it() -> None:
    job = prepared(a_job(hosted=True, held=True, generation=4))
    action = decide(seen(job, authenticated=True, equals=()), POLICY).action
    assert isinstance(action, WriteStatus)
    assert action.records_submission
    part = action.status.azure_open_ai
    assert part is not None
    assert part.submission is not None
    assert part.submission.marker == marker_of(job)
    assert (part.training_file_id, part.job_id) == ("file-1", None)
    assert action.status.started_generation == 4


def test_a_new_attempt_forgets_the_old_job_but_not_the_files() -> None:
    job = submitted(a_job(hosted=True, held=True))
    part = job.status.azure_open_ai or AzureOpenAIStatus()
    over = [a.model_copy(update={"end_time": stamp(-5)}) for a in job.status.attempts or ()]
    job = job.model_copy(update={"status": job.status.model_copy(update={"attempts": over})})
    action = decide(seen(job, authenticated=True, equals=()), POLICY).action
    assert isinstance(action, WriteStatus)
    fresh = action.status.azure_open_ai
    assert fresh is not None
    assert fresh.submission is not None
    assert (fresh.job_id, fresh.training_file_id, fresh.submission.attempt) == (None, "file-1", 2)
    assert part.submission is not None
    assert fresh.submission.marker != part.submission.marker


@pytest.mark.parametrize(
    ("known", "want", "want_look"),
    [
        pytest.param(
            facts(here=True, since=-1), Submit, None, id="the marker was written just now: send"
        ),
        pytest.param(
            facts(here=True, since=-3 * HOUR), Look, None, id="suspended for hours before it"
        ),
        pytest.param(
            facts(here=True, since=-3 * HOUR, looked=-1), Submit, None, id="looked since: send"
        ),
        pytest.param(
            facts(since=-3 * HOUR, looked=-2 * HOUR), Look, None, id="looked before a suspension"
        ),
        pytest.param(facts(here=True, posted=-1), Look, None, id="sent, the answer was lost: look"),
        pytest.param(
            facts(here=True, posted=-5, looked=-4),
            None,
            6.1,
            id="not found at once: look every 10 s",
        ),
        pytest.param(facts(here=True, posted=-15, looked=-11), Look, None, id="look again"),
        pytest.param(
            facts(here=True, posted=-LAG + 3, looked=-2), None, 3.1, id="and when the lag is over"
        ),
        pytest.param(
            facts(here=True, posted=-LAG - 1, looked=-2),
            Look,
            None,
            id="the last look was too early",
        ),
        pytest.param(
            facts(here=True, posted=-LAG - 9, looked=-1), Submit, None, id="surely not there: send"
        ),
        pytest.param(facts(since=0), Look, None, id="taken over from a dead leader: look first"),
        pytest.param(
            facts(since=-POLICY.takeover_wait, looked=-1),
            None,
            9.1,
            id="its request may be on its way",
        ),
        pytest.param(
            facts(since=-TAKEOVER + 2, looked=-1), None, 2.1, id="it may be missing from the list"
        ),
        pytest.param(
            facts(since=-TAKEOVER - 5, looked=-5.1), Look, None, id="looked a moment too early"
        ),
        pytest.param(
            facts(since=-TAKEOVER - 5, looked=-4.9), Submit, None, id="surely never sent: send"
        ),
        pytest.param(
            facts(since=-TAKEOVER - 99, looked=-1, posted=-2),
            None,
            9.1,
            id="sent again, lost again",
        ),
    ],
)
def test_money_is_spent_once(
    known: SubmissionFacts, want: type[Submit | Look] | None, want_look: float | None
) -> None:
    job = submitted(a_job(hosted=True, held=True), job_id=None)
    plan = decide(seen(job, submission=known), POLICY)
    marker = marker_of(job)
    assert plan.action == (None if want is None else want(suffix=marker))
    if want is None:
        assert plan.look_again_after == pytest.approx(want_look)
        assert reason_of(plan) == Reason.CONFIRMING_SUBMISSION


def test_a_list_is_searched_once_a_round() -> None:
    job = submitted(a_job(hosted=True, held=True), job_id=None)
    plan = decide(seen(job, submission=facts(since=-30, looked=-30), looked=True), POLICY)
    assert (plan.action, plan.look_again_after) == (None, 1.1)


def test_the_marker_ends_the_users_suffix() -> None:
    job = submitted(
        a_job(hosted=True, held=True, spec={"azureOpenAI.suffix": "g" * 18}), job_id=None
    )
    action = decide(seen(job, submission=facts(here=True, since=0)), POLICY).action
    assert isinstance(action, Submit)
    assert action.suffix == "g" * 18 + "-" + marker_of(job)
    assert len(action.suffix) <= 40


def test_a_jobs_marker_is_its_own() -> None:
    job = prepared(a_job(hosted=True))
    others = [
        prepared(a_job(hosted=True, uid="another-uid")),
        prepared(a_job(hosted=True, spec={"hyperparameters": {"epochs": 3}})),
    ]
    markers = [marker_of(job), marker_of(job, 2), *(marker_of(o) for o in others)]
    assert len(set(markers)) == len(markers)
    assert all(len(marker) == 16 for marker in markers)


def test_the_clock_is_the_only_thing_that_moves_a_search() -> None:
    job = submitted(a_job(hosted=True, held=True), job_id=None)
    known = facts(since=0, looked=0)
    now = at(TAKEOVER) + timedelta(seconds=1)
    assert isinstance(decide(seen(job, submission=known, now=now), POLICY).action, Look)


def test_a_doubt_says_how_long_it_lasts() -> None:
    job = submitted(a_job(hosted=True, held=True), job_id=None)
    known = facts(since=-10, looked=-1)
    status = decide(seen(job, submission=known), POLICY).status
    by = at(-10 + TAKEOVER + 60)
    assert f"sent by {by:%H:%M} UTC unless it is found" in (status.message or "")
