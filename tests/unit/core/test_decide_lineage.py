"""A job that starts from another's result: what it waits for, and what it starts from."""

import re
from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import Metrics, Result, ResultCheckpoint
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.plan import Authenticate, WriteStatus
from support.builders import (
    POLICY,
    a_job,
    condition,
    over,
    prepared,
    reason_of,
    seen,
    told,
    with_status,
)

MODEL = "gpt-4.1-mini.ft-1-sft"
POINTS = [
    ResultCheckpoint(name=f"{MODEL}:ckpt-step-10", step=10, metrics=Metrics(validation_loss="0.9")),
    ResultCheckpoint(name=f"{MODEL}:ckpt-step-20", step=20, metrics=Metrics(validation_loss="0.7")),
    ResultCheckpoint(name=MODEL, step=30, metrics=Metrics(validation_loss="0.8")),
]


def a_parent(name: str = "sft", **spec: Any) -> FineTuneJob:
    """A hosted job that runs."""
    job = a_job(hosted=True, name=name, uid=f"uid-of-{name}", spec=spec)
    return told(job, conditions.working(Phase.RUNNING, Reason.RUNNING, "Step 3"))


def a_good_parent(checkpoints: list[ResultCheckpoint] | None = None, **spec: Any) -> FineTuneJob:
    """One that has succeeded."""
    job = over(a_parent(**spec), conditions.succeeded("The model is there"))
    return with_status(job, result=Result(model=MODEL, checkpoints=checkpoints))


def a_bad_parent() -> FineTuneJob:
    """One that has failed."""
    return over(a_parent(), conditions.failed(Reason.DATA_INVALID, "Row 3 is bad"))


def a_stacked(checkpoint: str | None = None, *, since: float | None = None) -> FineTuneJob:
    """The job that starts from `sft`, its data in order; waiting `since` then."""
    ref = {"name": "sft"} | ({"checkpoint": checkpoint} if checkpoint else {})
    job = prepared(a_job(hosted=True, held=True, spec={"model": {"jobRef": ref}}))
    if since is None:
        return job
    fact = conditions.Fact(
        type=ConditionType.MODEL_READY, status=conditions.FALSE, reason=Reason.PARENT_NOT_FOUND
    )
    waiting = conditions.working(Phase.PENDING, Reason.PARENT_NOT_FOUND, "Waiting", fact)
    return told(job, waiting, at_second=since)


def in_a_circle() -> tuple[FineTuneJob, ...]:
    """The parent starts from the job itself."""
    return (a_parent(model={"jobRef": {"name": "tune"}}), a_stacked())


@pytest.mark.parametrize(
    ("parents", "want_reason", "want_message", "want_stalled"),
    [
        pytest.param((), "ParentNotFound", "does not exist", False, id="not there: applied later?"),
        pytest.param((a_parent(),), "WaitingForParent", "which is Running", False, id="running"),
        pytest.param((a_bad_parent(),), "ParentFailed", "retry it, or .* Row 3", True, id="failed"),
        pytest.param(
            (over(a_parent(), conditions.validated("In order")),),
            "ParentFailed",
            "only looked at its data",
            True,
            id="validated",
        ),
        pytest.param(
            (a_good_parent(**{"azureOpenAI.endpoint": "https://other.openai.azure.com"}),),
            "ParentElsewhere",
            "at https://other.openai.azure.com",
            True,
            id="of another account",
        ),
        pytest.param(
            in_a_circle(), "ParentsInACircle", "tune → sft → tune", True, id="in a circle"
        ),
    ],
)
def test_what_it_waits_for(
    parents: tuple[FineTuneJob, ...], want_reason: str, want_message: str, want_stalled: bool
) -> None:
    plan = decide(seen(a_stacked(), parents=parents), POLICY)

    assert plan.action is None
    assert reason_of(plan) == want_reason
    found = condition(plan.status, ConditionType.MODEL_READY)
    assert found is not None
    assert found.status == "False"
    assert re.search(want_message, found.message)
    assert conditions.is_true(plan.status, ConditionType.STALLED) is want_stalled
    assert not conditions.is_finished(plan.status)


@pytest.mark.parametrize(
    ("since", "parents", "want_stalled"),
    [
        pytest.param(-299, (), False, id="not there for less than five minutes"),
        pytest.param(-301, (), True, id="not there for longer"),
        pytest.param(-90_000, (a_parent(),), False, id="running for a day"),
    ],
)
def test_who_must_act(since: float, parents: tuple[FineTuneJob, ...], want_stalled: bool) -> None:
    plan = decide(seen(a_stacked(since=since), parents=parents), POLICY)

    assert conditions.is_true(plan.status, ConditionType.STALLED) is want_stalled


@pytest.mark.parametrize(
    ("checkpoint", "points", "want"),
    [
        pytest.param(None, None, MODEL, id="the result"),
        pytest.param("Final", POINTS, MODEL, id="the result by name"),
        pytest.param("Best", POINTS, f"{MODEL}:ckpt-step-20", id="the lowest validation loss"),
        pytest.param("step-10", POINTS, f"{MODEL}:ckpt-step-10", id="a step"),
    ],
)
def test_what_it_starts_from(
    checkpoint: str | None, points: list[ResultCheckpoint] | None, want: str
) -> None:
    now = seen(
        a_stacked(checkpoint), parents=(a_good_parent(points),), authenticated=True, equals=()
    )

    action = decide(now, POLICY).action

    assert isinstance(action, WriteStatus)
    part = action.status.azure_open_ai
    assert part is not None
    assert part.submission is not None
    assert part.submission.model == want
    found = conditions.get(action.status, ConditionType.MODEL_READY)
    assert found is not None
    assert (found.status, want in found.message) == ("True", True)


@pytest.mark.parametrize(
    ("checkpoint", "points", "want"),
    [
        pytest.param("step-15", POINTS, "there are step-10, step-20, step-30", id="a step too old"),
        pytest.param("step-15", None, "there are none", id="no checkpoints"),
        pytest.param(
            "Best", [ResultCheckpoint(name="x", step=1)], "choose Final", id="no validation loss"
        ),
    ],
)
def test_a_checkpoint_that_is_not_there(
    checkpoint: str, points: list[ResultCheckpoint] | None, want: str
) -> None:
    plan = decide(seen(a_stacked(checkpoint), parents=(a_good_parent(points),)), POLICY)

    assert reason_of(plan) == "CheckpointNotFound"
    assert want in (plan.status.message or "")
    assert conditions.is_true(plan.status, ConditionType.STALLED)


def test_data_is_checked_before_the_parent_is_waited_for() -> None:
    unprepared = a_job(hosted=True, spec={"model": {"jobRef": {"name": "sft"}}})

    plan = decide(seen(unprepared), POLICY)

    assert type(plan.action).__name__ == "CreatePrepare"


def test_a_key_is_asked_for_only_when_the_model_is_there() -> None:
    assert decide(seen(a_stacked()), POLICY).action is None
    now = seen(a_stacked(), parents=(a_good_parent(),))
    assert decide(now, POLICY).action == Authenticate()
