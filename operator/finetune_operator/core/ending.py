"""Stopping a job: cancel, deadline, suspension, deletion, and what is left to clean up.

Pure. What is stopped is stopped first and declared stopped afterwards, and a terminal job goes on
removing what still runs.
"""

from datetime import timedelta

from finetune_api.constants import DETACH_ANNOTATION, FINALIZER
from finetune_api.reasons import Phase, Reason
from finetune_api.spec import JobDeletionPolicy
from finetune_api.status import FineTuneJobStatus
from finetune_operator.core import attempts, azure_stage, conditions
from finetune_operator.core.conditions import Summary, parse_time
from finetune_operator.core.kubernetes_stage import active_children
from finetune_operator.core.observed import Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import (
    CancelRemote,
    DeleteChild,
    DropFinalizer,
    Look,
    Policy,
    Refresh,
    SetTtl,
    Submit,
)

_LOOK_AGAIN = 15.0


def is_hosted(seen: Observed) -> bool:
    """Whether the job runs at Azure OpenAI."""
    return seen.job.spec.azure_open_ai is not None


def deadline_passed(seen: Observed) -> bool:
    """Whether activeDeadlineSeconds are over."""
    left = seconds_to_deadline(seen)
    return left is not None and left <= 0


def seconds_to_deadline(seen: Observed) -> float | None:
    """Seconds until the deadline; None without one, or before the start."""
    limit, started = seen.job.spec.active_deadline_seconds, seen.job.status.start_time
    if limit is None or started is None:
        return None
    return (parse_time(started) + timedelta(seconds=limit) - seen.now).total_seconds()


def cancel(seen: Observed, policy: Policy) -> Outcome:
    """Stop for good on the user's request."""
    summary = conditions.cancelled("Cancelled as spec.cancel asks")
    return _stop(seen, policy, summary, Reason.CANCELLED)


def expire(seen: Observed, policy: Policy) -> Outcome:
    """Stop for good at the deadline."""
    seconds = seen.job.spec.active_deadline_seconds
    message = (
        f"The job ran longer than activeDeadlineSeconds ({seconds}): raise it, then ask for a retry"
    )
    summary = conditions.failed(Reason.DEADLINE_EXCEEDED, message)
    return _stop(seen, policy, summary, Reason.DEADLINE_EXCEEDED)


def _stop(seen: Observed, policy: Policy, final: Summary, reason: Reason) -> Outcome:
    pending = _remote_stop(seen, policy) if is_hosted(seen) else None
    if pending is not None:
        return pending
    if (running := _children_stop(seen)) is not None:
        return running
    status = _last_known(seen)
    ended = attempts.end(status, seen.now, reason, final.message)
    return Outcome(status=ended, summary=final, finished=True)


def _last_known(seen: Observed) -> FineTuneJobStatus:
    remote = seen.remote
    if remote is None or remote.job is None:
        return seen.job.status
    return azure_stage.follow(seen, remote, remote.job)


def _children_stop(seen: Observed) -> Outcome | None:
    """Deletes what runs; None when nothing does any more."""
    running = active_children(seen)
    for child in running:
        if not child.deleting:
            return Outcome(action=DeleteChild(name=child.name, uid=child.uid))
    if not running:
        return None
    message = f"Waiting for Job {running[0].name} to stop"
    return Outcome(
        summary=conditions.working(
            seen.job.status.phase or Phase.PENDING, Reason.CANCELLING, message
        )
    )


def _remote_stop(seen: Observed, policy: Policy) -> Outcome | None:
    """Cancels the hosted job, or settles whether there is one; None when nothing runs there."""
    status = seen.job.status
    part = azure_stage.hosted(status)
    if part.submission is None or attempts.is_over(status):
        return None
    if part.job_id is None:
        settled = azure_stage.submit_or_settle(seen, policy)
        return settled if _still_open(settled) else None
    if seen.remote is None:
        return Outcome(action=Refresh(job_id=part.job_id))
    if seen.remote.job is None or seen.remote.job.raw_status in azure_stage.TERMINAL:
        return None
    if seen.cancel_sent:
        message = "The service is cancelling the job"
        phase = status.phase or Phase.RUNNING
        return Outcome(
            summary=conditions.working(phase, Reason.CANCELLING, message),
            look_again_after=_LOOK_AGAIN,
        )
    return Outcome(action=CancelRemote(job_id=part.job_id))


def _still_open(settled: Outcome) -> bool:
    if isinstance(settled.action, Look | Submit):
        return True
    return settled.summary is not None and settled.summary.reason is Reason.CONFIRMING_SUBMISSION


def suspend_in_cluster(seen: Observed) -> Outcome:
    """Stop the pods, which save a checkpoint; the next attempt resumes from it."""
    for child in active_children(seen):
        if not child.deleting:
            return Outcome(action=DeleteChild(name=child.name, uid=child.uid))
    if active_children(seen):
        message = "Waiting for the pod to save a checkpoint and stop"
        phase = seen.job.status.phase or Phase.PENDING
        return Outcome(summary=conditions.working(phase, Reason.PAUSING, message))
    ended = attempts.end(seen.job.status, seen.now, Reason.SUSPENDED, "")
    return Outcome(status=ended, summary=conditions.suspended("Suspended; nothing runs"))


def clean_up(seen: Observed) -> Outcome:
    """What a terminal job still has to do: stop leftovers, let go, set the TTL."""
    for child in active_children(seen):
        if not child.deleting:
            return Outcome(action=DeleteChild(name=child.name, uid=child.uid))
    if FINALIZER in seen.job.metadata.finalizers:
        return Outcome(action=DropFinalizer())
    ttl = seen.job.spec.ttl_seconds_after_finished
    for child in seen.jobs if ttl is not None else ():
        if not child.has_ttl and not child.deleting:
            return Outcome(action=SetTtl(name=child.name, seconds=ttl or 0))
    return Outcome()


def delete(seen: Observed, policy: Policy) -> Outcome:
    """The object is going: cancel what runs at the service, then let go; never hold on for ever."""
    meta = seen.job.metadata
    if FINALIZER not in meta.finalizers:
        return Outcome()
    keep = seen.job.spec.deletion_policy.job is JobDeletionPolicy.KEEP
    if keep or meta.annotations.get(DETACH_ANNOTATION) == "true":
        return Outcome(action=DropFinalizer())
    if conditions.is_finished(seen.job.status):
        return Outcome(action=DropFinalizer())
    since = parse_time(meta.deletion_timestamp or conditions.timestamp(seen.now))
    if (seen.now - since).total_seconds() >= policy.deletion_grace:
        part = azure_stage.hosted(seen.job.status)
        marker = part.submission.marker if part.submission else None
        return Outcome(action=DropFinalizer(orphaned=part.job_id or marker))
    return _remote_stop(seen, policy) or Outcome(action=DropFinalizer())
