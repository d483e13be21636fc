"""Hosted jobs that one submission created twice: which counts, which are cancelled, and when."""

from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Phase
from finetune_api.status import Submission
from finetune_operator.core import conditions, names
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import RemoteJob
from finetune_operator.core.plan import (
    CancelRemote,
    CancelTwin,
    DropFinalizer,
    ExportResult,
    PauseRemote,
)
from finetune_operator.core.submission import one_that_counts
from support.builders import POLICY, a_job, a_remote, at, seen, submitted, told

HOUR = 3600.0
SAME = {"model": "gpt-4.1-mini-2025-04-14", "training_file": "file-1"}
CANCELLING = conditions.cancelling(Phase.RUNNING, "Cancelling")
PAUSING = conditions.pausing(Phase.RUNNING, "Pausing")


def a_submitted(*, deleting: bool = False, **spec: Any) -> FineTuneJob:
    """Submitted 100 s ago."""
    return submitted(a_job(hosted=True, held=True, spec=spec, deleting=deleting))


def recorded(job: FineTuneJob) -> Submission:
    part = job.status.azure_open_ai
    assert part is not None
    assert part.submission is not None
    return part.submission


def ours(job: FineTuneJob) -> str:
    return names.remote_suffix(job, recorded(job).marker)


def a_twin(job: FineTuneJob, job_id: str = "ftjob-2", **fields: Any) -> RemoteJob:
    values = {"raw_status": "pending", "created_at": at(-80), "suffix": ours(job), **SAME, **fields}
    return RemoteJob(id=job_id, **values)


def action(
    job: FineTuneJob, raw_status: str, *twins: RemoteJob, step: int | None = None, **fields: Any
) -> object:
    remote = a_remote(raw_status, step=step, suffix=ours(job), **SAME)
    return decide(seen(job, remote=remote, twins=twins, **fields), POLICY).action


# Its own job first


@pytest.mark.parametrize(
    ("job", "raw_status", "known", "want"),
    [
        pytest.param(a_submitted(), "pending", {}, CancelTwin, id="followed in the queue"),
        pytest.param(a_submitted(), "running", {}, CancelTwin, id="followed while it trains"),
        pytest.param(a_submitted(), "failed", {}, CancelTwin, id="its own has just failed"),
        pytest.param(
            told(a_submitted(cancel=True), CANCELLING),
            "running",
            {},
            CancelRemote,
            id="cancel: its own first",
        ),
        pytest.param(
            told(a_submitted(cancel=True), CANCELLING),
            "running",
            {"cancel_sent": True},
            CancelTwin,
            id="cancel: then the other",
        ),
        pytest.param(
            told(a_submitted(cancel=True), CANCELLING),
            "cancelled",
            {},
            CancelTwin,
            id="cancel: its own is over already",
        ),
        pytest.param(
            a_submitted(activeDeadlineSeconds=50),
            "running",
            {},
            CancelRemote,
            id="deadline: its own first",
        ),
        pytest.param(a_submitted(deleting=True), "running", {}, CancelRemote, id="deletion: first"),
        pytest.param(
            a_submitted(deleting=True), "cancelled", {}, CancelTwin, id="deletion: then the other"
        ),
        pytest.param(
            told(a_submitted(suspend=True), PAUSING),
            "running",
            {"step": 1},
            PauseRemote,
            id="suspend: its own first",
        ),
        pytest.param(
            told(a_submitted(suspend=True), PAUSING),
            "paused",
            {},
            CancelTwin,
            id="suspend: then the other",
        ),
    ],
)
def test_its_own_job_comes_first(
    job: FineTuneJob, raw_status: str, known: dict[str, Any], want: type
) -> None:
    assert isinstance(action(job, raw_status, a_twin(job), **known), want)


def test_one_at_a_time() -> None:
    job = a_submitted()
    two = (a_twin(job, "ftjob-2"), a_twin(job, "ftjob-3"))
    assert action(job, "running", *two) == CancelTwin(job_id="ftjob-2")
    assert action(job, "running", two[1]) == CancelTwin(job_id="ftjob-3"), "the first was tried"
    assert action(job, "running") is None


def test_a_result_is_exported_before_others_are_cancelled() -> None:
    job = a_submitted()
    remote = a_remote("succeeded", fine_tuned_model="m", suffix=ours(job), **SAME)
    got = decide(seen(job, remote=remote, twins=(a_twin(job),)), POLICY).action
    assert isinstance(got, ExportResult)


@pytest.mark.parametrize(
    ("twins", "raw_status", "want"),
    [
        pytest.param(0, "cancelled", DropFinalizer(), id="the other was tried, in vain or not"),
        pytest.param(1, "cancelled", DropFinalizer(), id="its own is over: nothing is orphaned"),
        pytest.param(1, "running", DropFinalizer(orphaned="ftjob-1"), id="its own is orphaned"),
    ],
)
def test_a_duplicate_is_no_reason_for_an_orphan(
    twins: int, raw_status: str, want: DropFinalizer
) -> None:
    job = a_submitted(deleting=True)
    others = (a_twin(job),) * twins
    assert action(job, raw_status, *others, deleting_since=at(-601)) == want


# Whose it is


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        pytest.param({}, True, id="created twice"),
        pytest.param({"created_at": at(-100 - HOUR)}, True, id="the service's clock is behind"),
        pytest.param({"created_at": at(-90 + HOUR)}, True, id="the service's clock is ahead"),
        pytest.param({"created_at": at(-101 - HOUR)}, False, id="long before our submission"),
        pytest.param({"created_at": at(-89 + HOUR)}, False, id="copied long after our own job"),
        pytest.param({"model": "gpt-4.1"}, False, id="another model"),
        pytest.param({"training_file": "file-2"}, False, id="another file"),
        pytest.param({"training_file": None}, False, id="a file that is not told"),
        pytest.param({"suffix": "somebody-s"}, False, id="another marker"),
        pytest.param({"suffix": None}, False, id="no marker"),
    ],
)
def test_only_our_own_is_cancelled(fields: dict[str, Any], want: bool) -> None:
    job = a_submitted()
    got = action(job, "running", a_twin(job, **fields))
    assert got == (CancelTwin(job_id="ftjob-2") if want else None)


def test_the_case_that_the_service_keeps_the_marker_in_does_not_matter() -> None:
    job = a_submitted()
    got = action(job, "running", a_twin(job, suffix=f"Kept-{ours(job)}".upper()))
    assert got == CancelTwin(job_id="ftjob-2")


def test_somebody_elses_does_not_hide_ours() -> None:
    job = a_submitted()
    foreign = a_twin(job, "ftjob-0", training_file="file-9")
    assert action(job, "running", foreign, a_twin(job)) == CancelTwin(job_id="ftjob-2")


# Which one counts


@pytest.mark.parametrize(
    ("statuses", "want"),
    [
        pytest.param(["pending"], 0, id="one"),
        pytest.param(["pending", "running"], 0, id="the oldest"),
        pytest.param(["cancelled", "running"], 1, id="not one that was cancelled"),
        pytest.param(["failed", "cancelled", "succeeded", "running"], 2, id="the oldest alive"),
        pytest.param(["failed", "cancelled"], 0, id="of dead ones the oldest"),
        pytest.param(["dreaming", "running"], 0, id="an unknown status is not dead"),
    ],
)
def test_which_one_counts(statuses: list[str], want: int) -> None:
    job = a_submitted()
    found = [
        a_twin(job, f"ftjob-{number}", raw_status=status, created_at=at(number))
        for number, status in enumerate(statuses)
    ]
    assert one_that_counts(found[::-1]) is found[want]
