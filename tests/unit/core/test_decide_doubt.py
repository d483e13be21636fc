"""A service whose answers to a create tell nothing: what is said, and how often it is asked."""

from dataclasses import replace

import pytest

from finetune_api.reasons import ConditionType, Reason
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.plan import Plan, Submit
from support.builders import POLICY, a_job, at, facts, reason_of, seen, submitted

LAG, STALLED = POLICY.list_lag, POLICY.stalled_after
TOLD = "acct answered with HTTP 500. The service says: out of order."


def decided(*, times: int, since: float, posted: float, looked: float) -> Plan:
    job = submitted(a_job(hosted=True, held=True), job_id=None)
    known = replace(
        facts(here=True, posted=posted, looked=looked),
        unanswered=times,
        unanswered_since=at(since),
        told=TOLD,
    )
    return decide(seen(job, submission=known), POLICY)


@pytest.mark.parametrize(
    ("since", "want_stalled"),
    [
        pytest.param(-5, False, id="at first"),
        pytest.param(-STALLED + 1, False, id="not yet"),
        pytest.param(-STALLED, True, id="for long"),
    ],
)
def test_the_services_words_are_told_and_stall_the_job_in_the_end(
    since: float, want_stalled: bool
) -> None:
    plan = decided(times=4, since=since, posted=-5, looked=-4)
    assert plan.action is None
    assert plan.status.message == TOLD
    assert reason_of(plan) == Reason.CONFIRMING_SUBMISSION
    assert conditions.is_true(plan.status, ConditionType.STALLED) is want_stalled
    assert conditions.is_true(plan.status, ConditionType.RECONCILING) is not want_stalled


def test_the_job_is_looked_at_when_it_becomes_stalled() -> None:
    plan = decided(times=4, since=-STALLED + 2, posted=-5, looked=-4)
    assert plan.look_again_after == pytest.approx(2.1)


@pytest.mark.parametrize(
    ("times", "posted", "want_wait"),
    [
        pytest.param(1, -LAG - 1, None, id="once: as soon as it is certain"),
        pytest.param(2, -2 * LAG + 9, 9.1, id="twice: after twice the time"),
        pytest.param(2, -2 * LAG - 1, None, id="and not later"),
        pytest.param(4, -8 * LAG + 9, 9.1, id="four times: after eight times the time"),
        pytest.param(50, -1800 + 9, 9.1, id="for ever: every half an hour"),
        pytest.param(50, -1801, None, id="and not less often"),
    ],
)
def test_it_is_posted_ever_less_often(times: int, posted: float, want_wait: float | None) -> None:
    plan = decided(times=times, since=-STALLED, posted=posted, looked=-0.5)
    assert isinstance(plan.action, Submit) is (want_wait is None)
    if want_wait is not None:
        assert plan.look_again_after == pytest.approx(want_wait)
