"""The hosted backend: one job at the service per attempt, created once, followed to its end.

Pure. The order is: key or token, finalizer, marker in status, then the request; whoever finds a
marker without an id looks for the job before anything is sent again.
"""

from dataclasses import replace

from finetune_api.constants import FINALIZER
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.spec import JobDeletionPolicy
from finetune_api.status import (
    MAX_CHECKPOINTS_SHOWN,
    FineTuneJobStatus,
    Metrics,
    Result,
    ResultCheckpoint,
)
from finetune_operator.core import (
    attempts,
    azure_echo,
    azure_errors,
    conditions,
    fitting,
    lineage,
    progress,
    submission,
    twice,
)
from finetune_operator.core.conditions import TRUE, Fact, Summary, timestamp
from finetune_operator.core.observed import ChildState, Figures, Observed, Remote, RemoteJob
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import (
    AddFinalizer,
    Authenticate,
    DeleteChild,
    DropFinalizer,
    ExportResult,
    Policy,
    ReadResults,
    Refresh,
    ResumeRemote,
    WriteStatus,
)
from finetune_operator.core.submission import hosted

PENDING = frozenset({"created", "pending", "validating_files", "queued"})
_PAUSED = frozenset({"pausing", "paused"})
FOLLOW_EVERY = 300.0
"""Seconds; the poller wakes the job on every change, this only bounds a silence."""
ASK_AGAIN = 30.0
"""Seconds between two requests that the service has not followed (yet)."""


def decide(seen: Observed, policy: Policy) -> Outcome:
    """The next step of a hosted job; the data is in order and uploaded."""
    status = seen.job.status
    begins = attempts.is_over(status)
    if begins and (waiting := lineage.waits(seen, policy)) is not None:
        return replace(waiting, status=seen.job.status)
    if begins and not seen.found.authenticated:
        return Outcome(action=Authenticate())
    if begins and (twice_ := twice.decide(seen, lineage.start_model(seen))) is not None:
        return twice_
    if (held := finalizer(seen)) is not None:
        return held
    if begins:
        return Outcome(action=WriteStatus(status=submission.begin(seen), records_submission=True))
    if hosted(status).job_id is None:
        return submission.submit(seen, policy)
    return submission.then_duplicates(seen, followed(seen, policy))


def adopt(seen: Observed, job_id: str) -> Outcome:
    """Follow a job made elsewhere: nothing is prepared, nothing is paid."""
    active = (child for child in seen.jobs if child.state is ChildState.ACTIVE)
    for child in active:
        if not child.deleting:  # it would upload what nobody uses
            return Outcome(action=DeleteChild(name=child.name, uid=child.uid))
    if not seen.found.authenticated:
        return Outcome(action=Authenticate())
    return finalizer(seen) or twice.adopt(seen, job_id)


def finalizer(seen: Observed) -> Outcome | None:
    """The finalizer is there exactly while a deletion would have something to cancel."""
    wanted = seen.job.spec.deletion_policy.job is JobDeletionPolicy.CANCEL
    if wanted == (FINALIZER in seen.job.metadata.finalizers):
        return None
    return Outcome(action=AddFinalizer() if wanted else DropFinalizer())


def followed(seen: Observed, policy: Policy) -> Outcome:
    """What the last snapshot means; before the first one, status stays as it was."""
    remote = seen.remote
    if remote is None:
        return Outcome(look_again_after=FOLLOW_EVERY)
    if remote.job is None:
        return _unknown(seen, policy)
    status = follow(seen, remote, remote.job)
    return _by_status(seen, policy, status, remote, remote.job)


def _unknown(seen: Observed, policy: Policy) -> Outcome:
    """The service does not know the job: a job just created may only be late to show."""
    message = (
        f"The service does not know job {hosted(seen.job.status).job_id}: check that"
        " the endpoint is the account that trains it; it is never submitted again by itself:"
        " if it is gone, delete this FineTuneJob and create a new one"
    )
    began = conditions.parse_time((seen.job.status.attempts or [])[-1].start_time)
    left = policy.stalled_after - (seen.now - began).total_seconds()
    tell = conditions.working if left > 0 else conditions.waiting_for_user
    phase = seen.job.status.phase or Phase.PENDING
    if phase is Phase.SUSPENDED and not seen.job.spec.suspend:
        phase = Phase.RUNNING
    summary = tell(phase, Reason.REMOTE_JOB_NOT_FOUND, message)
    return Outcome(
        summary=conditions.keep_suspended(seen.job.status, summary),
        look_again_after=left if left > 0 else FOLLOW_EVERY,
    )


def accepted() -> tuple[Fact, ...]:
    """What is true of every job that the service has."""
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
            "result_file_ids": [name[:253] for name in job.result_files[:16]] or None,
            "trained_tokens": progress.count(job.trained_tokens),
            "billed_tokens": progress.count(remote.details.billed_tokens),
            "estimated_finish": timestamp(job.estimated_finish) if job.estimated_finish else None,
        }
    )
    moved = progress.from_service(remote, status, seen.now)
    followed = status.model_copy(
        update={
            "azure_open_ai": told,
            "progress": moved,
            "metrics": _known(remote.details.figures) or status.metrics,
            "resolved": azure_echo.resolved(seen.job.spec, job) or status.resolved,
        }
    )
    return attempts.note(followed, step=moved.step if moved else None, node=None)


def _known(figures: Figures) -> Metrics | None:
    told = progress.metrics(figures)
    return None if told == Metrics() else told


def _updated(known: Metrics | None, figures: Figures) -> Metrics | None:
    """What the result file lacks stays as the events told it."""
    told = progress.metrics(figures).model_dump(by_alias=False, exclude_none=True)
    return (known or Metrics()).model_copy(update=told) if told else known


def _by_status(
    seen: Observed, policy: Policy, status: FineTuneJobStatus, remote: Remote, job: RemoteJob
) -> Outcome:
    if job.raw_status == "succeeded":
        if job.fine_tuned_model is None:
            return _unnamed(seen, policy, status, remote, job)
        return _succeeded(seen, status, remote, job, job.fine_tuned_model)
    if job.raw_status == "failed":
        # `error` is {} at times: then only the last events say why.
        said = job.error_message or remote.details.error
        verdict = azure_errors.job_failure(job.error_code, said)
        return _over(seen, status, verdict.reason, verdict.message)
    if job.raw_status == "cancelled":
        message = "The job was cancelled at the service, not by this FineTuneJob"
        return _over(seen, status, Reason.CANCELLED_REMOTELY, message)
    if job.raw_status in _PAUSED and conditions.pause_was_asked(seen.job.status):
        return _resume(seen, status, job)
    return Outcome(status=status, summary=_running(status, job), look_again_after=FOLLOW_EVERY)


def _resume(seen: Observed, status: FineTuneJobStatus, job: RemoteJob) -> Outcome:
    """Take back a pause that this job asked for, once the service has done it."""
    if job.raw_status == "paused" and not seen.found.asked:
        return Outcome(action=ResumeRemote(job_id=job.id))
    message = "The service is still pausing the job; it is resumed after that"
    summary = conditions.pausing(Phase.SUSPENDED, message)
    return Outcome(status=status, summary=summary, look_again_after=ASK_AGAIN)


def _running(status: FineTuneJobStatus, job: RemoteJob) -> Summary:
    if job.raw_status in PENDING:
        message = "Waiting in the service's queue"
        return conditions.working(Phase.QUEUED, Reason.QUEUED, message, *accepted())
    if job.raw_status in {"running", "resuming"}:
        message = progress.sentence(status, "The service is training")
        return conditions.working(Phase.RUNNING, Reason.RUNNING, message, *accepted())
    if job.raw_status in _PAUSED:
        message = "The service paused the job itself; it goes on when the service or you resume it"
        return conditions.working(Phase.RUNNING, Reason.SERVICE_PAUSED, message, *accepted())
    message = (
        f"The service reports the status {job.raw_status[:64]!r}, which is not known here;"
        " the job is followed on"
    )
    phase = status.phase or Phase.PENDING
    return conditions.working(phase, Reason.UNKNOWN_REMOTE_STATUS, message, *accepted())


def _over(seen: Observed, status: FineTuneJobStatus, reason: Reason, message: str) -> Outcome:
    return Outcome(
        status=attempts.end(status, seen.now, reason, message),
        summary=conditions.failed(reason, message),
        finished=True,
    )


def _succeeded(
    seen: Observed, status: FineTuneJobStatus, remote: Remote, job: RemoteJob, model: str
) -> Outcome:
    if seen.found.results is None and job.result_files:
        return Outcome(action=ReadResults(file_id=job.result_files[0]))
    if not seen.exported:
        exported = {"model": model, "jobID": job.id, "endpoint": hosted(status).endpoint or ""}
        return Outcome(action=ExportResult(data=tuple(sorted(exported.items()))))
    done, checkpoints = attempts.end(status, seen.now, Reason.SUCCEEDED, ""), _checkpoints(remote)
    steps = seen.found.results or ()
    summary = conditions.succeeded(f"The model is {model}")
    return Outcome(
        status=done.model_copy(
            update={
                "result": Result(model=model, checkpoints=checkpoints),
                "progress": progress.completed(done, seen.now),
                "metrics": _updated(done.metrics, fitting.final(steps)),
            }
        ),
        summary=replace(summary, extra=(*summary.extra, *fitting.facts(steps, checkpoints or ()))),
        finished=True,
    )


def _unnamed(
    seen: Observed, policy: Policy, status: FineTuneJobStatus, remote: Remote, job: RemoteJob
) -> Outcome:
    """A job that is over is polled no more: ask for the model's name from here."""
    if (seen.now - remote.seen_at).total_seconds() >= ASK_AGAIN:
        return Outcome(action=Refresh(job_id=job.id))
    message = "The service says that the job succeeded but has not named the model yet"
    trained = Fact(
        type=ConditionType.TRAINING_COMPLETE, status=TRUE, reason=Reason.SUCCEEDED, message=message
    )
    known = conditions.get(seen.job.status, ConditionType.TRAINING_COMPLETE)
    since = conditions.parse_time(known.last_transition_time) if known else seen.now
    lasts = (seen.now - since).total_seconds() >= policy.stalled_after
    tell = conditions.waiting_for_user if lasts else conditions.working
    message += ": see the job at the service" if lasts else ""
    summary = tell(Phase.RUNNING, Reason.RUNNING, message, *accepted(), trained)
    return Outcome(status=status, summary=summary, look_again_after=ASK_AGAIN)


def _checkpoints(remote: Remote) -> list[ResultCheckpoint] | None:
    shown = [
        ResultCheckpoint(
            name=point.name[:253],
            step=progress.count(point.step) or 0,
            metrics=progress.metrics(point.figures),
        )
        for point in reversed(remote.details.checkpoints[:MAX_CHECKPOINTS_SHOWN])
    ]
    return shown or None
