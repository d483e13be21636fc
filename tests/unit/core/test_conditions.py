"""The table of states: which conditions a job has, and how they move."""

from datetime import timedelta

import pytest

from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import Condition, ConditionStatus, FineTuneJobStatus
from finetune_operator.core import conditions
from finetune_operator.core.conditions import FALSE, TRUE, Fact, Summary
from support.builders import NOW, a_job, stamp, told
from support.readers import kstatus

RUNNING = conditions.working(Phase.RUNNING, Reason.RUNNING, "Step 1")
FAILED = conditions.failed(Reason.OUT_OF_MEMORY, "Killed")


def shown(status: FineTuneJobStatus) -> dict[str, str]:
    return {c.type: c.status.value for c in status.conditions}


@pytest.mark.parametrize(
    ("summary", "want", "want_kstatus"),
    [
        pytest.param(
            conditions.new(Reason.STARTING, "Seen"),
            {"Ready": "Unknown", "Reconciling": "True"},
            "InProgress",
            id="new",
        ),
        pytest.param(
            RUNNING, {"Ready": "False", "Reconciling": "True"}, "InProgress", id="waiting, running"
        ),
        pytest.param(
            conditions.waiting_for_user(Phase.PENDING, Reason.SECRET_NOT_FOUND, "Create it"),
            {"Ready": "False", "Stalled": "True"},
            "Failed",
            id="waits for the user",
        ),
        pytest.param(
            conditions.pausing(Phase.RUNNING, "Pausing"),
            {"Ready": "False", "Reconciling": "True", "Suspended": "False"},
            "InProgress",
            id="pausing",
        ),
        pytest.param(
            conditions.suspended("Paused"),
            {"Ready": "False", "Suspended": "True"},
            "InProgress",
            id="suspended",
        ),
        pytest.param(
            conditions.succeeded("Done"),
            {"Ready": "True", "Succeeded": "True", "TrainingComplete": "True"},
            "Current",
            id="succeeded",
        ),
        pytest.param(
            FAILED,
            {"Ready": "False", "Stalled": "True", "Succeeded": "False"},
            "Failed",
            id="failed",
        ),
        pytest.param(
            conditions.cancelling(Phase.RUNNING, "Stopping"),
            {"Ready": "False", "Reconciling": "True", "Cancelled": "False"},
            "InProgress",
            id="cancelling",
        ),
        pytest.param(
            conditions.cancelled("As asked"),
            {"Ready": "False", "Stalled": "True", "Cancelled": "True", "Succeeded": "False"},
            "Failed",
            id="cancelled",
        ),
    ],
)
@pytest.mark.parametrize(
    "before",
    [
        pytest.param(None, id="from nothing"),
        pytest.param(RUNNING, id="after running"),
        pytest.param(conditions.suspended("Paused"), id="after a pause"),
        pytest.param(
            conditions.waiting_for_user(Phase.PENDING, Reason.SECRET_NOT_FOUND, "Create it"),
            id="after a wait",
        ),
    ],
)
def test_each_state_has_its_conditions(
    before: Summary | None, summary: Summary, want: dict[str, str], want_kstatus: str
) -> None:
    job = a_job() if before is None else told(a_job(), before)
    status = told(job, summary).status
    assert shown(status) == want
    assert (status.phase, status.message) == (summary.phase, summary.message)
    assert {c.observed_generation for c in status.conditions} == {1}
    obj = {"metadata": {"generation": 1}, "status": status.model_dump(mode="json")}
    obj["status"]["observedGeneration"] = status.observed_generation
    assert kstatus(obj) == want_kstatus


@pytest.mark.parametrize(
    ("then", "want_moved"),
    [
        pytest.param(
            Fact(
                type=ConditionType.SUBMITTED,
                status=TRUE,
                reason=Reason.SUBMITTED,
                message="other words",
            ),
            False,
            id="other words",
        ),
        pytest.param(
            Fact(type=ConditionType.SUBMITTED, status=FALSE, reason=Reason.SUBMITTED),
            True,
            id="another status",
        ),
    ],
)
def test_times_move_with_the_status_alone(then: Fact, want_moved: bool) -> None:
    first = Fact(type=ConditionType.SUBMITTED, status=TRUE, reason=Reason.SUBMITTED)
    status = conditions.merge(FineTuneJobStatus(), [first], generation=1, now=NOW)
    later = conditions.merge(status, [then], generation=2, now=NOW + timedelta(seconds=9))
    found = conditions.get(later, ConditionType.SUBMITTED)
    assert found is not None
    assert found.last_transition_time == (stamp(9) if want_moved else stamp(0))
    assert (found.message, found.observed_generation) == (then.message, 2)


def test_what_others_wrote_stays() -> None:
    foreign = Condition(
        type="example.com/Approved",
        status=ConditionStatus.TRUE,
        reason="ByHand",
        last_transition_time=stamp(-99),
    )
    status = FineTuneJobStatus(conditions=[foreign])
    after = conditions.summarise(status, FAILED, meta=a_job().metadata, now=NOW)
    assert after.conditions[-1] == foreign


def test_facts_outlive_summaries_that_say_nothing_of_them() -> None:
    valid = Fact(type=ConditionType.DATA_VALID, status=TRUE, reason=Reason.DATA_ACCEPTED)
    status = conditions.merge(a_job().status, [valid], generation=1, now=NOW)
    status = conditions.summarise(status, FAILED, meta=a_job().metadata, now=NOW)
    assert conditions.is_true(status, ConditionType.DATA_VALID)


def test_success_takes_back_that_it_was_being_cancelled() -> None:
    job = told(
        told(a_job(), conditions.cancelling(Phase.RUNNING, "")), conditions.succeeded("Done")
    )
    assert conditions.get(job.status, ConditionType.CANCELLED) is None


@pytest.mark.parametrize(
    ("summary", "want"),
    [
        pytest.param(RUNNING, False, id="running"),
        pytest.param(conditions.suspended(""), False, id="suspended"),
        pytest.param(conditions.succeeded(""), True, id="succeeded"),
        pytest.param(FAILED, True, id="failed"),
        pytest.param(conditions.cancelled(""), True, id="cancelled"),
    ],
)
def test_only_succeeded_says_that_a_job_is_over(summary: Summary, want: bool) -> None:
    assert conditions.is_finished(told(a_job(), summary).status) == want


def test_messages_fit_the_schema() -> None:
    status = told(a_job(), conditions.failed(Reason.TRAINING_FAILED, "x" * 5000)).status
    assert status.message is not None
    assert len(status.message) == 1024
    assert FineTuneJobStatus.model_validate(status.model_dump()) == status
