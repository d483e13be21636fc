"""A job at the service that trains the same: taken over, asked about, or paid for once more."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_api.constants import ADOPT_ANNOTATION, FORCE_NEW_ANNOTATION
from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Reason
from finetune_operator.core import conditions, names
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import Found, Observed, Remote, RemoteJob
from finetune_operator.core.plan import (
    AddFinalizer,
    Authenticate,
    CancelRemote,
    DeleteChild,
    FindEqual,
    Refresh,
    WriteStatus,
)
from support.builders import (
    POLICY,
    UNKNOWN_REMOTE,
    a_child,
    a_job,
    a_remote,
    at,
    marker_of,
    prepared,
    reason_of,
    seen,
    submitted,
)

JOB = prepared(a_job(hosted=True, held=True))
MODEL = JOB.spec.model.name or ""


def a_twin(job_id: str = "ftjob-9", *, uid: str = "another-uid", **fields: Any) -> RemoteJob:
    """A job at the service that another object submitted for the same."""
    other = prepared(a_job(hosted=True, uid=uid))
    told = {"raw_status": "running", "created_at": at(-3600), "suffix": f"x-{marker_of(other)}"}
    return RemoteJob(id=job_id, **(told | fields))


def annotated(**annotations: str) -> FineTuneJob:
    """The job with annotations, `_` for what stands before the slash."""
    return prepared(a_job(hosted=True, held=True, annotations=annotations))


def test_the_service_is_searched_before_anything_is_paid() -> None:
    action = decide(seen(JOB, authenticated=True), POLICY).action

    assert action == FindEqual(digest=marker_of(JOB)[-8:])


def test_one_that_another_object_submitted_is_asked_about() -> None:
    plan = decide(seen(JOB, authenticated=True, equals=(a_twin(),)), POLICY)

    assert plan.action is None
    assert reason_of(plan) == Reason.POSSIBLE_DUPLICATE
    assert conditions.is_true(plan.status, ConditionType.STALLED)
    assert not conditions.is_finished(plan.status)
    message = plan.status.message or ""
    assert f"annotate ftj -n default tune {ADOPT_ANNOTATION}=ftjob-9" in message
    assert f"annotate ftj -n default tune {FORCE_NEW_ANNOTATION}=true" in message


def test_one_of_its_own_is_taken_over() -> None:
    """Its status was lost, and with it the number of the attempt."""
    marker = names.marker(JOB, 3, MODEL)
    mine = [
        a_twin("ftjob-7", suffix=names.marker(JOB, 2, MODEL), created_at=at(-7200)),
        a_twin("ftjob-8", suffix=f"gsm8k-{marker.upper()}"),
        a_twin("ftjob-9"),
    ]

    action = decide(seen(JOB, authenticated=True, equals=tuple(mine)), POLICY).action

    assert isinstance(action, WriteStatus)
    part = action.status.azure_open_ai
    assert part is not None
    assert part.submission is not None
    assert (part.job_id, part.submission.marker) == ("ftjob-8", marker)
    assert action.status.started_generation == 1


@pytest.mark.parametrize(
    "equals", [pytest.param((), id="none is there"), pytest.param(None, id="not even searched")]
)
def test_another_one_is_paid_for_when_asked(equals: tuple[RemoteJob, ...] | None) -> None:
    job = annotated(**{FORCE_NEW_ANNOTATION: "true"})

    action = decide(seen(job, authenticated=True, equals=equals), POLICY).action

    assert isinstance(action, WriteStatus)
    assert action.records_submission


def test_a_job_made_elsewhere_is_followed_without_reading_any_data() -> None:
    job = a_job(hosted=True, annotations={ADOPT_ANNOTATION: "ftjob-5"})

    assert decide(seen(job), POLICY).action == Authenticate()
    assert decide(seen(job, authenticated=True), POLICY).action == AddFinalizer()
    held = a_job(hosted=True, held=True, annotations={ADOPT_ANNOTATION: "ftjob-5"})
    assert decide(seen(held, authenticated=True), POLICY).action == Refresh(job_id="ftjob-5")
    action = decide(asked(held, a_remote("running")), POLICY).action
    assert isinstance(action, WriteStatus)
    assert not action.records_submission
    part = action.status.azure_open_ai
    assert part is not None
    assert (part.job_id, part.submission) == ("ftjob-5", None)


def asked(job: FineTuneJob, remote: Remote, **fields: Any) -> Observed:
    """The service was asked about the job of the annotation."""
    return replace(seen(job, **fields), found=Found(authenticated=True, remote=remote))


@pytest.mark.parametrize(
    ("adopt", "remote", "followed_by", "want"),
    [
        pytest.param("ftjob-x", UNKNOWN_REMOTE, None, "does not know job ftjob-x", id="unknown"),
        pytest.param("x" * 300, UNKNOWN_REMOTE, None, "does not know job xxx", id="far too long"),
        pytest.param(
            "ftjob-5", UNKNOWN_REMOTE, "team-b/tune", "team-b/tune follows", id="another object's"
        ),
    ],
)
def test_what_cannot_be_adopted_begins_nothing(
    adopt: str, remote: Remote, followed_by: str | None, want: str
) -> None:
    job = a_job(hosted=True, held=True, annotations={ADOPT_ANNOTATION: adopt})

    plan = decide(asked(job, remote, followed_by=followed_by), POLICY)

    assert (plan.action, plan.status.attempts) == (None, None)
    assert want in (plan.status.message or "")
    assert conditions.is_true(plan.status, ConditionType.STALLED)


def test_what_is_still_prepared_is_not_uploaded_for_nothing() -> None:
    job = a_job(hosted=True, annotations={ADOPT_ANNOTATION: "ftjob-5"})
    child = a_child(job, prepare=0)

    assert isinstance(decide(seen(job, child), POLICY).action, DeleteChild)


def test_a_job_that_is_retried_may_take_over_what_it_was_asked_about() -> None:
    job = annotated(**{ADOPT_ANNOTATION: "ftjob-9"})
    job = job.model_copy(update={"status": job.status.model_copy(update={"attempt": 1})})

    action = decide(seen(job, authenticated=True, equals=(a_twin(),)), POLICY).action

    assert isinstance(action, WriteStatus)
    part = action.status.azure_open_ai
    assert part is not None
    assert part.job_id == "ftjob-9"


def test_no_is_no() -> None:
    job = annotated(**{FORCE_NEW_ANNOTATION: "false"})

    plan = decide(seen(job, authenticated=True, equals=(a_twin(),)), POLICY)

    assert reason_of(plan) == Reason.POSSIBLE_DUPLICATE


def test_a_job_that_has_started_adopts_nothing() -> None:
    job = submitted(annotated(**{ADOPT_ANNOTATION: "ftjob-5"}))

    assert decide(seen(job, remote=a_remote("running")), POLICY).action is None


def test_an_adopted_job_is_cancelled_like_any_other() -> None:
    job = submitted(a_job(hosted=True, held=True, spec={"cancel": True}))
    part = job.status.azure_open_ai
    assert part is not None
    adopted = part.model_copy(update={"submission": None})
    job = job.model_copy(
        update={"status": job.status.model_copy(update={"azure_open_ai": adopted})}
    )
    job = job.model_copy(
        update={
            "status": conditions.summarise(
                job.status,
                conditions.cancelling(job.status.phase or "Running", "Stopping"),  # type: ignore[arg-type]
                meta=job.metadata,
                now=at(0),
            )
        }
    )

    assert decide(seen(job, remote=a_remote("running")), POLICY).action == CancelRemote(
        job_id="ftjob-1"
    )
