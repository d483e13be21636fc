"""Stopping a job: cancel, deadline, suspension, deletion, and what is left to clean up.

Pure. What is stopped is stopped first and declared stopped afterwards; that it was asked for is
written before, so that neither a restart nor a change of mind half-way loses it.
"""

from dataclasses import replace
from datetime import timedelta

from finetune_api.constants import DETACH_ANNOTATION, FINALIZER
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.spec import JobDeletionPolicy
from finetune_api.status import FineTuneJobStatus
from finetune_operator.core import (
    attempts,
    azure_pause,
    azure_stage,
    conditions,
    kubernetes_stage,
    submission,
)
from finetune_operator.core.conditions import Summary, parse_time
from finetune_operator.core.kubernetes_stage import active_children
from finetune_operator.core.observed import TERMINAL, ChildJob, ChildState, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import (
    CancelRemote,
    DeleteChild,
    DropFinalizer,
    Policy,
    Refresh,
    SetTtl,
    WriteStatus,
)
from finetune_operator.core.waits import until_gone

_LOOK_AGAIN = 15.0
_SERVICE_KNOWS_NOT = "the service does not know job"


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


def seconds_to_letting_go(seen: Observed, policy: Policy) -> float:
    """Seconds until a deletion insists no more; counted from when this leadership saw it."""
    since = seen.deleting_since or seen.now
    return (since + timedelta(seconds=policy.deletion_grace) - seen.now).total_seconds()


def seconds_to_turn(seen: Observed, policy: Policy) -> float | None:
    """Seconds until time alone changes what is to be done; None if it never does."""
    if seen.job.metadata.deletion_timestamp is not None:
        held = FINALIZER in seen.job.metadata.finalizers
        return seconds_to_letting_go(seen, policy) if held else None
    left = None if conditions.is_finished(seen.job.status) else seconds_to_deadline(seen)
    return None if left is None or left <= 0 else left


def cancel(seen: Observed, policy: Policy) -> Outcome:
    """Stop for good on the user's request."""
    final = conditions.cancelled("Cancelled as spec.cancel asks" + _not_seen_to_stop(seen))
    outcome = _stop(seen, policy, final, Reason.CANCELLED)
    over = outcome.finished and not _is_unknown(seen)
    if over or conditions.cancel_was_asked(seen.job.status):
        return outcome
    return _recorded(seen, conditions.cancelling(_phase(seen), "Cancelling as spec.cancel asks"))


def expire(seen: Observed, policy: Policy) -> Outcome:
    """Stop for good at the deadline."""
    seconds = seen.job.spec.active_deadline_seconds
    message = (
        f"The job ran longer than activeDeadlineSeconds ({seconds}): raise it, then ask for a retry"
    )
    summary = conditions.failed(Reason.DEADLINE_EXCEEDED, message + _not_seen_to_stop(seen))
    return _stop(seen, policy, summary, Reason.DEADLINE_EXCEEDED)


def _phase(seen: Observed) -> Phase:
    return seen.job.status.phase or Phase.PENDING


def _recorded(seen: Observed, summary: Summary) -> Outcome:
    """Write down what was asked for, before it is begun."""
    told = conditions.summarise(seen.job.status, summary, meta=seen.job.metadata, now=seen.now)
    return Outcome(action=WriteStatus(status=told))


def _stop(seen: Observed, policy: Policy, final: Summary, reason: Reason) -> Outcome:
    pending = _remote_stop(seen, policy) if is_hosted(seen) else None
    if pending is not None:
        return pending
    if (done := _succeeded_meanwhile(seen, policy)) is not None:
        return done
    if active_children(seen):
        return _stop_children(seen, Reason.CANCELLING)
    ended = attempts.end(_last_known(seen), seen.now, reason, final.message)
    return Outcome(status=ended, summary=final, finished=True)


def _succeeded_meanwhile(seen: Observed, policy: Policy) -> Outcome | None:
    """A result that is there already is not thrown away."""
    if attempts.is_over(seen.job.status):
        return None
    if is_hosted(seen):
        remote = seen.remote.job if seen.remote else None
        won = remote is not None and remote.raw_status == "succeeded"
        return azure_stage.followed(seen, policy) if won else None
    child = kubernetes_stage.training_child(seen)
    won = child is not None and child.state is ChildState.COMPLETE
    return kubernetes_stage.ended(seen, policy) if won else None


def _last_known(seen: Observed) -> FineTuneJobStatus:
    remote = seen.remote
    if remote is None or remote.job is None or attempts.is_over(seen.job.status):
        return seen.job.status
    return azure_stage.follow(seen, remote, remote.job)


def _deletion(children: list[ChildJob]) -> Outcome | None:
    """Delete the first child that is not being deleted yet."""
    child = next((child for child in children if not child.deleting), None)
    return None if child is None else Outcome(action=DeleteChild(name=child.name, uid=child.uid))


def _stop_children(seen: Observed, reason: Reason) -> Outcome:
    """Delete what runs, and wait until it is gone: its pods save a checkpoint first."""
    running = active_children(seen)
    if (deletion := _deletion(running)) is not None:
        return deletion
    message = f"Waiting for Job {running[0].name} to stop"
    summary = conditions.working(_phase(seen), reason, message)
    return until_gone(seen, summary, *running)


def _remote_stop(seen: Observed, policy: Policy) -> Outcome | None:
    """Cancels the hosted job, or settles whether there is one; None when nothing runs there.

    Jobs that the same submission has created besides are cancelled after its own.
    """
    own = _own_stop(seen, policy)
    return submission.duplicate(seen) if own is None else submission.then_duplicates(seen, own)


def _own_stop(seen: Observed, policy: Policy) -> Outcome | None:
    status = seen.job.status
    part = submission.hosted(status)
    if not submission.is_there(status):
        return None
    if part.job_id is None:
        settled = submission.settle(seen, policy)
        return settled if _still_open(settled) else None
    if seen.remote is None:
        return Outcome(action=Refresh(job_id=part.job_id))
    if seen.remote.job is None:
        return _unknown(seen, policy)
    if seen.remote.job.raw_status in TERMINAL:
        return None
    if seen.cancel_sent:
        message = "The service is cancelling the job"
        return Outcome(
            summary=conditions.working(_phase(seen), Reason.CANCELLING, message),
            look_again_after=_LOOK_AGAIN,
        )
    return Outcome(action=CancelRemote(job_id=part.job_id))


def _unknown(seen: Observed, policy: Policy) -> Outcome | None:
    """Asks on for a while: a new job may only be late to show. None: there is nothing to stop."""
    status = seen.job.status
    moments = [parse_time(attempt.start_time) for attempt in status.attempts or ()]
    if (asked := conditions.get(status, ConditionType.CANCELLED)) is not None:
        moments.append(parse_time(asked.last_transition_time))
    if deadline_passed(seen):
        moments.append(seen.now + timedelta(seconds=seconds_to_deadline(seen) or 0))
    left = policy.stalled_after - (seen.now - max(moments)).total_seconds()
    if left <= 0:
        return None
    message = f"Stopping, but {_SERVICE_KNOWS_NOT} {submission.hosted(status).job_id}"
    summary = conditions.working(_phase(seen), Reason.REMOTE_JOB_NOT_FOUND, message)
    return Outcome(summary=summary, look_again_after=left)


def _is_unknown(seen: Observed) -> bool:
    """Whether the service does not know the job that is to be stopped."""
    status = seen.job.status
    named = submission.hosted(status).job_id is not None and not attempts.is_over(status)
    return named and seen.remote is not None and seen.remote.job is None


def _not_seen_to_stop(seen: Observed) -> str:
    if not _is_unknown(seen):
        return ""
    part = submission.hosted(seen.job.status)
    return (
        f"; but {_SERVICE_KNOWS_NOT} {part.job_id}: it was deleted there, or {part.endpoint} is not"
        " the account that trains it, where it may go on"
    )


def _still_open(settled: Outcome) -> bool:
    if settled.action is not None:
        return True
    return settled.summary is not None and settled.summary.reason is Reason.CONFIRMING_SUBMISSION


def suspend(seen: Observed, policy: Policy) -> Outcome:
    """Pause on the user's request; the next attempt, or the service, goes on from there."""
    if is_hosted(seen):
        if active_children(seen):
            return _stop_children(seen, Reason.PAUSING)
        return azure_pause.suspend(seen, policy)
    if (over := kubernetes_stage.ended(seen, policy)) is not None:
        return over
    if active_children(seen):
        return _suspend_children(seen)
    return Outcome(
        status=kubernetes_stage.suspended(seen),
        summary=conditions.suspended("Suspended; nothing runs"),
    )


def _suspend_children(seen: Observed) -> Outcome:
    """As `_stop_children`, but a resume half-way must not take the end of the pod for a failure."""
    pausing = conditions.pausing(_phase(seen), "Waiting for the pod to save a checkpoint and stop")
    if not conditions.pause_was_asked(seen.job.status):
        return _recorded(seen, pausing)
    running = active_children(seen)
    if (deletion := _deletion(running)) is not None:
        return deletion
    waiting = until_gone(seen, pausing, *running)
    return replace(waiting, status=kubernetes_stage.last_seen(seen))


def clean_up(seen: Observed) -> Outcome:
    """What a terminal job still has to do: stop leftovers, let go, set the TTL."""
    if (deletion := _deletion(active_children(seen))) is not None:
        return deletion
    if FINALIZER in seen.job.metadata.finalizers:
        return Outcome(action=DropFinalizer())
    ttl = seen.job.spec.ttl_seconds_after_finished
    for child in seen.jobs if ttl is not None else ():
        if not child.has_ttl and not child.deleting:
            return Outcome(action=SetTtl(name=child.name, seconds=ttl or 0))
    return Outcome()


def delete(seen: Observed, policy: Policy) -> Outcome:
    """The object is going: cancel what runs at the service, then let go; never hold on for ever."""
    meta, status = seen.job.metadata, seen.job.status
    if FINALIZER not in meta.finalizers:
        return Outcome()
    keep = seen.job.spec.deletion_policy.job is JobDeletionPolicy.KEEP
    detached = meta.annotations.get(DETACH_ANNOTATION) == "true"
    if keep or detached or conditions.is_finished(status):
        return Outcome(action=DropFinalizer())
    insists = seconds_to_letting_go(seen, policy) > 0
    if insists and (running := _remote_stop(seen, policy)) is not None:
        return running
    over = insists or _own_stop(seen, policy) is None
    if over and not _is_unknown(seen):
        return Outcome(action=DropFinalizer())
    part = submission.hosted(status)
    marker = part.submission.marker if part.submission else None
    return Outcome(action=DropFinalizer(orphaned=part.job_id or marker))
