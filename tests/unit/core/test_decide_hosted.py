"""Hosted jobs: the submission at every point where its history may break off, and what follows."""

from datetime import timedelta
from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import AzureOpenAIStatus
from finetune_operator.core import conditions, names
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import RemoteCheckpoint, SubmissionFacts
from finetune_operator.core.plan import (
    AddFinalizer,
    Authenticate,
    DropFinalizer,
    ExportResult,
    Look,
    Plan,
    Refresh,
    ResumeRemote,
    Submit,
    WriteStatus,
)
from support.builders import (
    POLICY,
    UNKNOWN_REMOTE,
    a_job,
    a_remote,
    at,
    facts,
    prepared,
    reason_of,
    seen,
    stamp,
    submitted,
    told,
)

HOUR = 3600.0
LAG = POLICY.list_lag
TAKEOVER = POLICY.takeover_wait + LAG


# The submission


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
    assert decide(seen(job, authenticated=True), POLICY).action == AddFinalizer()


def test_then_the_marker_with_what_is_frozen_by_it() -> None:
    job = prepared(a_job(hosted=True, held=True, generation=4))
    action = decide(seen(job, authenticated=True), POLICY).action
    assert isinstance(action, WriteStatus)
    assert action.records_submission
    part = action.status.azure_open_ai
    assert part is not None
    assert part.submission is not None
    assert part.submission.marker == names.marker(job, 1)
    assert (part.training_file_id, part.job_id) == ("file-1", None)
    assert action.status.started_generation == 4


def test_a_new_attempt_forgets_the_old_job_but_not_the_files() -> None:
    job = submitted(a_job(hosted=True, held=True))
    part = job.status.azure_open_ai or AzureOpenAIStatus()
    over = [a.model_copy(update={"end_time": stamp(-5)}) for a in job.status.attempts or ()]
    job = job.model_copy(update={"status": job.status.model_copy(update={"attempts": over})})
    action = decide(seen(job, authenticated=True), POLICY).action
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
    marker = names.marker(job, 1)
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
    assert action.suffix == "g" * 18 + "-" + names.marker(job, 1)
    assert len(action.suffix) <= 40


def test_a_jobs_marker_is_its_own() -> None:
    job = prepared(a_job(hosted=True))
    others = [
        prepared(a_job(hosted=True, uid="another-uid")),
        prepared(a_job(hosted=True, spec={"hyperparameters": {"epochs": 3}})),
    ]
    markers = [names.marker(job, 1), names.marker(job, 2), *(names.marker(o, 1) for o in others)]
    assert len(set(markers)) == len(markers)
    assert all(len(marker) == 10 for marker in markers)


# What the service tells


def _plan(raw_status: str, **remote: Any) -> Plan:
    job = submitted(a_job(hosted=True, held=True))
    return decide(seen(job, remote=a_remote(raw_status, **remote), exported=True), POLICY)


@pytest.mark.parametrize(
    ("raw_status", "want_phase", "want_reason"),
    [
        pytest.param("created", Phase.QUEUED, Reason.QUEUED, id="created"),
        pytest.param("pending", Phase.QUEUED, Reason.QUEUED, id="pending"),
        pytest.param("validating_files", Phase.QUEUED, Reason.QUEUED, id="validating"),
        pytest.param("queued", Phase.QUEUED, Reason.QUEUED, id="queued"),
        pytest.param("running", Phase.RUNNING, Reason.RUNNING, id="running"),
        pytest.param("resuming", Phase.RUNNING, Reason.RUNNING, id="resuming"),
        pytest.param("pausing", Phase.RUNNING, Reason.SERVICE_PAUSED, id="pausing unasked"),
        pytest.param("paused", Phase.RUNNING, Reason.SERVICE_PAUSED, id="pre-empted"),
        pytest.param("failed", Phase.FAILED, Reason.TRAINING_FAILED, id="failed"),
        pytest.param(
            "cancelled", Phase.FAILED, Reason.CANCELLED_REMOTELY, id="cancelled by others"
        ),
        pytest.param("dreaming", Phase.PENDING, Reason.UNKNOWN_REMOTE_STATUS, id="never heard of"),
    ],
)
def test_every_remote_status_has_a_meaning(
    raw_status: str, want_phase: Phase, want_reason: Reason
) -> None:
    plan = _plan(raw_status)
    assert plan.action is None
    assert (plan.status.phase, reason_of(plan)) == (want_phase, want_reason)
    part = plan.status.azure_open_ai
    assert part is not None
    assert part.raw_status == raw_status


def test_an_unknown_status_keeps_the_phase() -> None:
    job = submitted(a_job(hosted=True, held=True))
    job = told(job, conditions.working(Phase.RUNNING, Reason.RUNNING, "Step 3"))
    plan = decide(seen(job, remote=a_remote("dreaming")), POLICY)
    assert plan.status.phase == Phase.RUNNING
    assert "'dreaming'" in (plan.status.message or "")


def test_progress_is_told() -> None:
    status = _plan(
        "running",
        step=40,
        details={"total_steps": 100, "train_loss": 0.8312, "validation_loss": 0.9},
        estimated_finish=at(3 * 3600),
        hyperparameters={"n_epochs": "2", "batch_size": "16", "learning_rate_multiplier": "1.5"},
        seed=7,
    ).status
    assert status.message == "Step 40 of 100, loss 0.8312"
    assert status.progress is not None
    assert (status.progress.text, status.progress.eta) == ("40%", "15:00 UTC")
    assert status.metrics is not None
    assert status.metrics.validation_loss == "0.9"
    assert status.resolved is not None
    got = {name: setting.value for name, setting in status.resolved.items()}
    assert got == {"epochs": "2", "batchSize": "16", "learningRateMultiplier": "1.5", "seed": "7"}


def test_a_snapshot_that_says_nothing_new_changes_nothing() -> None:
    job = submitted(a_job(hosted=True, held=True))
    once = decide(seen(job, remote=a_remote(step=4, seen_at=-50)), POLICY).status
    again = job.model_copy(update={"status": once})
    later = decide(seen(again, remote=a_remote(step=4, seen_at=0)), POLICY).status
    assert later == once


def test_after_a_restart_nothing_is_said_before_something_is_known() -> None:
    job = submitted(a_job(hosted=True, held=True))
    job = told(job, conditions.working(Phase.RUNNING, Reason.RUNNING, "Step 3"))
    plan = decide(seen(job), POLICY)
    assert (plan.action, plan.status.phase, plan.status.message) == (None, Phase.RUNNING, "Step 3")


@pytest.mark.parametrize(
    ("since", "want_stalled"),
    [
        pytest.param(-10, False, id="just created: it may only be late to show"),
        pytest.param(-301, True, id="deleted there, or the wrong account"),
    ],
)
def test_a_job_that_the_service_does_not_know(since: float, want_stalled: bool) -> None:
    job = submitted(a_job(hosted=True, held=True), since=since)
    plan = decide(seen(job, remote=UNKNOWN_REMOTE), POLICY)
    assert plan.action is None, "it is never submitted again"
    assert reason_of(plan) == Reason.REMOTE_JOB_NOT_FOUND
    assert conditions.is_true(plan.status, ConditionType.STALLED) == want_stalled
    assert not conditions.is_finished(plan.status)


# The end


def test_success_names_the_model() -> None:
    points = tuple(
        RemoteCheckpoint(name=f"ckpt-{step}", step=step, train_loss=0.5, validation_loss=None)
        for step in (100, 50)
    )
    status = _plan(
        "succeeded",
        fine_tuned_model="gpt-4.1-mini.ft-1",
        trained_tokens=12345,
        result_files=("file-9",),
        details={"checkpoints": points, "billed_tokens": 12000},
    ).status
    assert status.phase == Phase.SUCCEEDED
    assert status.result is not None
    assert status.result.model == "gpt-4.1-mini.ft-1"
    assert status.result.checkpoints is not None
    assert [point.name for point in status.result.checkpoints] == ["ckpt-50", "ckpt-100"]
    part = status.azure_open_ai
    assert part is not None
    assert (part.trained_tokens, part.billed_tokens) == (12345, 12000)
    assert part.result_file_ids == ["file-9"]


def test_the_result_is_exported_first() -> None:
    job = submitted(a_job(hosted=True, held=True))
    remote = a_remote("succeeded", fine_tuned_model="m")
    action = decide(seen(job, remote=remote), POLICY).action
    assert isinstance(action, ExportResult)
    assert dict(action.data)["model"] == "m"


@pytest.mark.parametrize(
    ("seen_at", "want"),
    [
        pytest.param(-31, Refresh(job_id="ftjob-1"), id="asked again after 30 s"),
        pytest.param(-1, None, id="not in every round"),
    ],
)
def test_a_model_that_is_not_named_yet_is_asked_for(seen_at: float, want: Refresh | None) -> None:
    plan = _plan("succeeded", seen_at=seen_at)
    assert plan.action == want
    if want is None:
        assert plan.look_again_after == 30


def test_a_failure_says_why() -> None:
    plan = _plan("failed", error_message="The job failed RAI checks for training data")
    assert (plan.status.phase, reason_of(plan)) == (Phase.FAILED, Reason.DATA_INVALID)
    assert plan.status.attempts is not None
    assert plan.status.attempts[-1].reason == Reason.DATA_INVALID


# The finalizer


@pytest.mark.parametrize(
    ("policy", "held", "want"),
    [
        pytest.param("Cancel", True, None, id="held, as a deletion would have to cancel"),
        pytest.param("Cancel", False, AddFinalizer(), id="the policy became Cancel"),
        pytest.param("Keep", False, None, id="nothing to hold for"),
        pytest.param("Keep", True, DropFinalizer(), id="the policy became Keep"),
    ],
)
@pytest.mark.parametrize("suspend", [False, True])
def test_the_finalizer_follows_the_deletion_policy(
    suspend: bool, policy: str, held: bool, want: AddFinalizer | DropFinalizer | None
) -> None:
    spec = {"deletionPolicy": {"job": policy}, "suspend": suspend}
    job = submitted(a_job(hosted=True, held=held, spec=spec))
    status = "paused" if suspend else "pending"
    assert decide(seen(job, remote=a_remote(status)), POLICY).action == want


# Pauses that are taken back


def test_a_pause_of_ours_is_taken_back() -> None:
    job = told(submitted(a_job(hosted=True, held=True)), conditions.suspended("Paused"))
    action = decide(seen(job, remote=a_remote("paused")), POLICY).action
    assert action == ResumeRemote(job_id="ftjob-1")


@pytest.mark.parametrize(
    ("raw_status", "asked"),
    [
        pytest.param("pausing", False, id="the service is still pausing"),
        pytest.param("paused", True, id="resumed, and it has not followed yet"),
    ],
)
def test_it_stays_ours_until_the_service_has_resumed(raw_status: str, asked: bool) -> None:
    job = told(
        submitted(a_job(hosted=True, held=True)), conditions.pausing(Phase.RUNNING, "Pausing")
    )
    plan = decide(seen(job, remote=a_remote(raw_status), asked=asked), POLICY)
    assert (plan.action, plan.look_again_after) == (None, 30)
    assert conditions.pause_was_asked(plan.status)


def test_after_that_it_runs_again() -> None:
    job = told(submitted(a_job(hosted=True, held=True)), conditions.suspended("Paused"))
    plan = decide(seen(job, remote=a_remote("resuming")), POLICY)
    assert plan.status.phase == Phase.RUNNING
    assert not conditions.pause_was_asked(plan.status)


def test_the_clock_is_the_only_thing_that_moves_a_search() -> None:
    job = submitted(a_job(hosted=True, held=True), job_id=None)
    known = facts(since=0, looked=0)
    now = at(TAKEOVER) + timedelta(seconds=1)
    assert isinstance(decide(seen(job, submission=known, now=now), POLICY).action, Look)
