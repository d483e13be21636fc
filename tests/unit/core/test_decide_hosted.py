"""A hosted job that was submitted: its states, its end, its finalizer, its pauses."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import Figures, RemoteCheckpoint
from finetune_operator.core.plan import (
    AddFinalizer,
    DropFinalizer,
    ExportResult,
    Plan,
    ReadResults,
    Refresh,
    ResumeRemote,
)
from support.builders import (
    POLICY,
    UNKNOWN_REMOTE,
    a_job,
    a_remote,
    at,
    reason_of,
    seen,
    submitted,
    told,
)

# What the service tells


def _plan(raw_status: str, **remote: Any) -> Plan:
    job = submitted(a_job(hosted=True, held=True))
    now = seen(job, remote=a_remote(raw_status, **remote), exported=True, results=())
    return decide(now, POLICY)


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
        details={
            "total_steps": 100,
            "figures": Figures(train_loss=0.8312, validation_loss=0.9),
        },
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


def test_rewards_are_told_where_there_is_no_loss() -> None:
    status = _plan(
        "running",
        step=4,
        details={"figures": Figures(train_reward=0.25, validation_reward=0.5)},
        hyperparameters={"reasoning_effort": "medium"},
    ).status
    assert status.message == "Step 4, reward 0.25"
    assert status.metrics is not None
    assert (status.metrics.train_reward, status.metrics.validation_reward) == ("0.25", "0.5")
    assert status.resolved is not None
    assert status.resolved["reasoningEffort"].value == "medium"


@pytest.mark.parametrize(
    ("path", "asked", "echo", "want"),
    [
        pytest.param("hyperparameters.epochs", 3, {"n_epochs": "3"}, None, id="followed"),
        pytest.param(
            "hyperparameters.learningRateMultiplier",
            "1.50",
            {"learning_rate_multiplier": "1.5"},
            None,
            id="written otherwise",
        ),
        pytest.param("hyperparameters.epochs", 3, {"n_epochs": "1"}, "3", id="lowered"),
        pytest.param("seed", 7, {"n_epochs": "1"}, "7", id="another seed"),
    ],
)
def test_a_setting_that_the_service_did_not_follow_says_what_was_asked(
    path: str, asked: object, echo: dict[str, str], want: str | None
) -> None:
    job = submitted(a_job(hosted=True, held=True, spec={path: asked}))
    remote = a_remote("running", hyperparameters=echo, seed=8 if path == "seed" else None)
    resolved = decide(seen(job, remote=remote), POLICY).status.resolved or {}
    told = {name: setting.reason for name, setting in resolved.items()}[path.split(".")[-1]]
    echoed = "the service's echo"
    assert told == (echoed if want is None else f"{echoed}, though the spec asks for {want}")


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
        RemoteCheckpoint(name=f"ckpt-{step}", step=step, figures=Figures(train_loss=0.5))
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


def test_its_figures_are_read_once_it_is_there() -> None:
    job = submitted(a_job(hosted=True, held=True))
    remote = a_remote("succeeded", fine_tuned_model="m", result_files=("file-9", "file-10"))
    assert decide(seen(job, remote=remote), POLICY).action == ReadResults(file_id="file-9")


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


@pytest.mark.parametrize(("since", "want_stalled"), [(-299, False), (-301, True)])
def test_a_model_that_is_never_named_is_somebodys_to_look_into(
    since: float, want_stalled: bool
) -> None:
    job = submitted(a_job(hosted=True, held=True))
    first = decide(
        replace(seen(job, remote=a_remote("succeeded", seen_at=since)), now=at(since)), POLICY
    )
    later = job.model_copy(update={"status": first.status})
    plan = decide(seen(later, remote=a_remote("succeeded", seen_at=-1)), POLICY)
    assert conditions.is_true(plan.status, ConditionType.STALLED) == want_stalled
    assert not conditions.is_finished(plan.status)


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
