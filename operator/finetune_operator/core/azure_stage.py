"""The hosted backend: one job at the service per attempt, created once, followed to its end.

Pure. The order is: finalizer, marker in status, then the request; whoever finds a marker without
an id looks for the job before anything is sent again.
"""

from datetime import datetime, timedelta

from finetune_api.constants import FINALIZER
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import (
    MAX_CHECKPOINTS_SHOWN,
    AzureOpenAIStatus,
    FineTuneJobStatus,
    Metrics,
    Resolved,
    Result,
    ResultCheckpoint,
    Submission,
)
from finetune_operator.core import attempts, azure_errors, conditions, names, progress
from finetune_operator.core.conditions import TRUE, Fact, Summary, timestamp
from finetune_operator.core.observed import Observed, Remote, RemoteJob
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import (
    AddFinalizer,
    ExportResult,
    Look,
    PauseRemote,
    Policy,
    ResumeRemote,
    Submit,
    WriteStatus,
)

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
_PENDING = frozenset({"created", "pending", "validating_files", "queued"})
_PAUSED = frozenset({"pausing", "paused"})
_FOLLOW_EVERY = 300.0
"""Seconds; the poller wakes the job on every change, this only bounds a silence."""


def hosted(status: FineTuneJobStatus) -> AzureOpenAIStatus:
    """The hosted part of status, empty at first."""
    return status.azure_open_ai or AzureOpenAIStatus()


def decide(seen: Observed, policy: Policy) -> Outcome:
    """The next step of a hosted job; the data is in order and uploaded."""
    status = seen.job.status
    if FINALIZER not in seen.job.metadata.finalizers:
        return Outcome(action=AddFinalizer())
    if attempts.is_over(status):
        return Outcome(action=WriteStatus(status=_begin(seen), records_submission=True))
    if hosted(status).job_id is None:
        return submit(seen, policy)
    return _follow(seen)


def _begin(seen: Observed) -> FineTuneJobStatus:
    """The marker, written before anything is sent."""
    job = seen.job
    number = (job.status.attempt or 0) + 1
    submission = Submission(
        marker=names.marker(job, number), attempt=number, started_at=timestamp(seen.now)
    )
    kept = hosted(job.status)
    fresh = AzureOpenAIStatus(
        endpoint=job.spec.azure_open_ai.endpoint if job.spec.azure_open_ai else None,
        training_file_id=kept.training_file_id,
        validation_file_id=kept.validation_file_id,
        submission=submission,
    )
    return attempts.begin(job, seen.now, azure_open_ai=fresh, progress=None, metrics=None)


def _confirming(seen: Observed, until: datetime) -> Outcome:
    seconds = max(0.0, (until - seen.now).total_seconds())
    message = "Making sure that the job was not created before, so that it is paid for once"
    return Outcome(
        summary=conditions.working(Phase.PENDING, Reason.CONFIRMING_SUBMISSION, message),
        look_again_after=seconds + 0.1,
    )


def submit(seen: Observed, policy: Policy) -> Outcome:
    """Send, or first make sure that nobody has sent it before."""
    submission, facts = hosted(seen.job.status).submission, seen.submission
    if submission is None or facts is None:
        raise ValueError("a submission is decided only once its marker is in status")
    suffix = names.remote_suffix(seen.job, submission.marker)
    if facts.recorded_here and facts.posted_at is None:
        return Outcome(action=Submit(suffix=suffix))
    clear_at = sure_at(seen, policy)
    if facts.last_look_at is not None and facts.last_look_at >= clear_at:
        return Outcome(action=Submit(suffix=suffix))
    next_look = _next_look(facts.last_look_at, clear_at, policy)
    if next_look is None or next_look <= seen.now:
        return Outcome(action=Look(suffix=suffix))
    return _confirming(seen, next_look)


def sure_at(seen: Observed, policy: Policy) -> datetime:
    """From when on a search that finds nothing proves that the job was not created."""
    facts = seen.submission
    if facts is None:
        raise ValueError("a submission is decided only once its marker is in status")
    if facts.posted_at is not None:
        return facts.posted_at + timedelta(seconds=policy.list_lag)
    return facts.known_since + timedelta(seconds=policy.takeover_wait + policy.list_lag)


def _next_look(last: datetime | None, clear_at: datetime, policy: Policy) -> datetime | None:
    if last is None:
        return None
    return min(max(clear_at, last), last + timedelta(seconds=policy.look_interval))


def _follow(seen: Observed) -> Outcome:
    remote = seen.remote
    if remote is None:
        return Outcome(
            summary=conditions.working(
                Phase.PENDING, Reason.SUBMITTED, "Waiting for the service's first answer", *_sent()
            ),
            look_again_after=_FOLLOW_EVERY,
        )
    if remote.job is None:
        message = (
            f"The service does not know job {hosted(seen.job.status).job_id} any more: check that"
            " the endpoint is the account that trains it; it is never submitted again by itself"
        )
        return Outcome(
            summary=conditions.waiting_for_user(
                seen.job.status.phase or Phase.PENDING, Reason.REMOTE_JOB_NOT_FOUND, message
            ),
            look_again_after=_FOLLOW_EVERY,
        )
    status = follow(seen, remote, remote.job)
    return _by_status(seen, status, remote, remote.job)


def _sent() -> tuple[Fact, ...]:
    return (
        Fact(
            type=ConditionType.SUBMITTED,
            status=TRUE,
            reason=Reason.SUBMITTED,
            message="The service accepted the job",
        ),
    )


def follow(seen: Observed, remote: Remote, job: RemoteJob) -> FineTuneJobStatus:
    """Status with everything that the service tells."""
    status = seen.job.status
    told = hosted(status).model_copy(
        update={
            "raw_status": job.raw_status[:253],
            "result_file_ids": list(job.result_files[:16]) or None,
            "trained_tokens": job.trained_tokens,
            "billed_tokens": remote.details.billed_tokens,
            "estimated_finish": timestamp(job.estimated_finish) if job.estimated_finish else None,
        }
    )
    moved = progress.from_service(remote, status.data, seen.now) or status.progress
    followed = status.model_copy(
        update={
            "azure_open_ai": told,
            "progress": moved,
            "metrics": _metrics(remote) or status.metrics,
            "resolved": _resolved(job) or status.resolved,
        }
    )
    return attempts.note(followed, step=moved.step if moved else None, node=None)


def _metrics(remote: Remote) -> Metrics | None:
    train = progress.decimal(remote.details.train_loss)
    validation = progress.decimal(remote.details.validation_loss)
    if train is None and validation is None:
        return None
    return Metrics(train_loss=train, validation_loss=validation)


_ECHO = {
    "n_epochs": "epochs",
    "batch_size": "batchSize",
    "learning_rate_multiplier": "learningRateMultiplier",
}


def _resolved(job: RemoteJob) -> dict[str, Resolved] | None:
    said = {
        _ECHO[key]: Resolved(value=value, reason="the service's echo")
        for key, value in job.hyperparameters.items()
        if key in _ECHO
    }
    if job.seed is not None:
        said["seed"] = Resolved(value=str(job.seed), reason="the service's echo")
    return said or None


def _by_status(
    seen: Observed, status: FineTuneJobStatus, remote: Remote, job: RemoteJob
) -> Outcome:
    if job.raw_status == "succeeded":
        return _succeeded(seen, status, remote, job)
    if job.raw_status == "failed":
        verdict = azure_errors.job_failure(job.error_code, job.error_message)
        return _over(seen, status, verdict.reason, verdict.message)
    if job.raw_status == "cancelled":
        message = "The job was cancelled at the service, not by this FineTuneJob"
        return _over(seen, status, Reason.CANCELLED_REMOTELY, message)
    if not seen.job.spec.suspend and job.raw_status in _PAUSED and _paused_by_us(seen):
        return _resume(seen, status, job)
    return Outcome(status=status, summary=_running(status, job), look_again_after=_FOLLOW_EVERY)


def _paused_by_us(seen: Observed) -> bool:
    return conditions.is_true(seen.job.status, ConditionType.SUSPENDED)


def _resume(seen: Observed, status: FineTuneJobStatus, job: RemoteJob) -> Outcome:
    if job.raw_status == "paused" and not seen.asked:
        return Outcome(action=ResumeRemote(job_id=job.id))
    summary = conditions.working(
        Phase.SUSPENDED,
        Reason.PAUSING,
        "The service is still pausing; it is resumed after that",
        _still_suspended("The service is pausing the job"),
    )
    return Outcome(status=status, summary=summary, look_again_after=_FOLLOW_EVERY)


def _still_suspended(message: str) -> Fact:
    return Fact(type=ConditionType.SUSPENDED, status=TRUE, reason=Reason.SUSPENDED, message=message)


def _running(status: FineTuneJobStatus, job: RemoteJob) -> Summary:
    if job.raw_status in _PENDING:
        message = "Waiting in the service's queue"
        return conditions.working(Phase.QUEUED, Reason.QUEUED, message, *_sent())
    if job.raw_status in {"running", "resuming"}:
        return conditions.working(Phase.RUNNING, Reason.RUNNING, _step(status), *_sent())
    if job.raw_status in _PAUSED:
        message = "The service paused the job itself; it goes on when the service or you resume it"
        return conditions.working(Phase.RUNNING, Reason.SERVICE_PAUSED, message, *_sent())
    message = f"The service reports the status {job.raw_status[:64]!r}, which is not known here"
    phase = status.phase or Phase.PENDING
    return conditions.working(phase, Reason.UNKNOWN_REMOTE_STATUS, message, *_sent())


def _step(status: FineTuneJobStatus) -> str:
    told = status.progress
    if told is None or told.step is None:
        return "The service is training"
    total = f" of {told.total_steps}" if told.total_steps else ""
    loss = f", loss {told.loss}" if told.loss else ""
    return f"Step {told.step}{total}{loss}"


def _over(seen: Observed, status: FineTuneJobStatus, reason: Reason, message: str) -> Outcome:
    return Outcome(
        status=attempts.end(status, seen.now, reason, message),
        summary=conditions.failed(reason, message),
        finished=True,
    )


def _succeeded(
    seen: Observed, status: FineTuneJobStatus, remote: Remote, job: RemoteJob
) -> Outcome:
    model = job.fine_tuned_model
    if model is None:
        message = "The service says that the job succeeded but has not named the model yet"
        return Outcome(
            status=status,
            summary=conditions.working(Phase.RUNNING, Reason.RUNNING, message, *_sent()),
            look_again_after=30.0,
        )
    if not seen.exported:
        exported = {"model": model, "jobID": job.id, "endpoint": hosted(status).endpoint or ""}
        return Outcome(action=ExportResult(data=tuple(sorted(exported.items()))))
    done = attempts.end(status, seen.now, Reason.SUCCEEDED, "")
    return Outcome(
        status=done.model_copy(
            update={
                "result": Result(model=model, checkpoints=_checkpoints(remote)),
                "progress": progress.completed(done, seen.now),
            }
        ),
        summary=conditions.succeeded(f"The model is {model}"),
        finished=True,
    )


def _checkpoints(remote: Remote) -> list[ResultCheckpoint] | None:
    shown = [
        ResultCheckpoint(
            name=point.name,
            step=point.step,
            metrics=Metrics(
                train_loss=progress.decimal(point.train_loss),
                validation_loss=progress.decimal(point.validation_loss),
            ),
        )
        for point in remote.details.checkpoints[:MAX_CHECKPOINTS_SHOWN]
    ]
    return shown or None


def suspend(seen: Observed, policy: Policy) -> Outcome:
    """Pause at the service once it allows it; a job that is not there yet is not created."""
    status, remote = seen.job.status, seen.remote
    part = hosted(status)
    if part.submission is None or attempts.is_over(status):
        return Outcome(summary=conditions.suspended("Suspended before anything was submitted"))
    if part.job_id is None:
        return submit_or_settle(seen, policy)
    if remote is None or remote.job is None:
        return _follow(seen)
    job, followed = remote.job, follow(seen, remote, remote.job)
    if job.raw_status in TERMINAL:
        return _by_status(seen, followed, remote, job)
    if job.raw_status == "paused":
        summary = conditions.suspended("The service paused the job")
        return Outcome(status=followed, summary=summary, look_again_after=_FOLLOW_EVERY)
    if job.raw_status == "running" and (remote.details.step or 0) >= 1 and not seen.asked:
        return Outcome(action=PauseRemote(job_id=job.id))
    waits = (
        "The service is pausing the job"
        if job.raw_status == "pausing"
        else "The service allows a pause only after the first step; it is paused then"
    )
    facts = (_still_suspended(waits),) if job.raw_status == "pausing" else ()
    phase = Phase.QUEUED if job.raw_status in _PENDING else Phase.RUNNING
    summary = conditions.working(phase, Reason.PAUSING, waits, *_sent(), *facts)
    return Outcome(status=followed, summary=summary, look_again_after=30.0)


def submit_or_settle(seen: Observed, policy: Policy) -> Outcome:
    """A submission whose fate is not known is settled by looking, never by sending."""
    facts = seen.submission
    if facts is None or (facts.recorded_here and facts.posted_at is None):
        return Outcome(summary=conditions.suspended("Suspended before anything was submitted"))
    clear_at = sure_at(seen, policy)
    if facts.last_look_at is not None and facts.last_look_at >= clear_at:
        return Outcome(summary=conditions.suspended("Suspended before anything was submitted"))
    submission = hosted(seen.job.status).submission
    suffix = names.remote_suffix(seen.job, submission.marker) if submission else ""
    next_look = _next_look(facts.last_look_at, clear_at, policy)
    if next_look is None or next_look <= seen.now:
        return Outcome(action=Look(suffix=suffix))
    return _confirming(seen, next_look)
