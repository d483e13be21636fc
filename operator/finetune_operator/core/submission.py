"""The submission of a hosted job: its marker first, then one request, and a search when in doubt.

Pure. Whoever finds a marker without an id looks for the job before anything is sent again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from finetune_api.reasons import Phase, Reason
from finetune_api.status import AzureOpenAIStatus, FineTuneJobStatus, Submission
from finetune_operator.core import attempts, conditions, lineage, names
from finetune_operator.core.conditions import timestamp
from finetune_operator.core.observed import Observed, RemoteJob, SubmissionFacts
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import CancelTwin, Look, Policy, Submit

CLOCK_SKEW = timedelta(hours=1)
"""How far the service's clock may be from ours, where times of both are compared."""

_DEAD = frozenset({"failed", "cancelled"})

_LOOKING = "Making sure that the job was not created before, so that it is paid for once"
_LONGEST_PAUSE = 1800.0
"""Seconds between two posts of a submission whose answers tell nothing."""


def hosted(status: FineTuneJobStatus) -> AzureOpenAIStatus:
    """The hosted part of status, empty at first."""
    return status.azure_open_ai or AzureOpenAIStatus()


def is_there(status: FineTuneJobStatus) -> bool:
    """Whether an attempt is under way that was sent, may have been, or was taken over."""
    part = hosted(status)
    return (part.submission or part.job_id) is not None and not attempts.is_over(status)


def begin(seen: Observed) -> FineTuneJobStatus:
    """The marker, written before anything is sent."""
    job = seen.job
    number = (job.status.attempt or 0) + 1
    model = lineage.start_model(seen)
    submission = Submission(
        marker=names.marker(job, number, model),
        attempt=number,
        model=model,
        started_at=timestamp(seen.now),
    )
    kept = hosted(job.status)
    fresh = AzureOpenAIStatus(
        endpoint=job.spec.azure_open_ai.endpoint if job.spec.azure_open_ai else None,
        training_file_id=kept.training_file_id,
        validation_file_id=kept.validation_file_id,
        submission=submission,
    )
    begun = attempts.begin(job, seen.now, azure_open_ai=fresh, progress=None, metrics=None)
    told = lineage.facts(seen, model)
    return conditions.merge(begun, told, generation=job.metadata.generation, now=seen.now)


def submit(seen: Observed, policy: Policy) -> Outcome:
    """Send, or first make sure that nobody has sent it before."""
    if (doubt := _doubt(seen, policy, sends=True) or _pause(seen, policy)) is not None:
        return doubt
    suffix = _suffix(seen)
    action = Look(suffix=suffix) if _is_stale(seen, policy) else Submit(suffix=suffix)
    return Outcome(action=action)


def settle(seen: Observed, policy: Policy) -> Outcome:
    """A submission whose fate is not known is settled by looking, never by sending."""
    doubt = _doubt(seen, policy, sends=False)
    return never_submitted() if doubt is None else doubt


def never_submitted() -> Outcome:
    """Nothing was created at the service, and nothing is while the job is suspended."""
    return Outcome(summary=conditions.suspended("Suspended before anything was submitted"))


def then_duplicates(seen: Observed, outcome: Outcome) -> Outcome:
    """What is to be done about the job itself, then about others of the same submission.

    They come last and only once each while: nothing that fails with them holds up the job.
    """
    return outcome if outcome.action is not None else duplicate(seen) or outcome


def duplicate(seen: Observed) -> Outcome | None:
    """Cancels a job that the list shows only now, although its submission has another one."""
    recorded, own = hosted(seen.job.status).submission, seen.remote.job if seen.remote else None
    if recorded is None or own is None:
        return None
    twice = (twin for twin in seen.twins if is_duplicate(twin, own, recorded))
    first = next(twice, None)
    return None if first is None else Outcome(action=CancelTwin(job_id=first.id))


def is_duplicate(other: RemoteJob, own: RemoteJob, recorded: Submission) -> bool:
    """Whether another job comes from the same submission as our own one.

    A marker can be copied by hand: only what trains the same model on the same file, created
    between the marker and our own job as far as clocks can tell, is ours to cancel.
    """
    began = conditions.parse_time(recorded.started_at)
    return (
        other.id != own.id
        and bears(other, recorded.marker)
        and (other.model, other.training_file) == (own.model, own.training_file)
        and began - CLOCK_SKEW <= other.created_at <= max(began, own.created_at) + CLOCK_SKEW
    )


def one_that_counts(found: Sequence[RemoteJob]) -> RemoteJob:
    """Of the jobs of one submission the oldest, but none that is dead while another is not."""
    return min(found, key=lambda job: (job.raw_status in _DEAD, job.created_at))


def bears(remote: RemoteJob, marker: str) -> bool:
    """Whether a job's suffix ends in this marker, in whatever case the service keeps it."""
    return (remote.suffix or "").lower().endswith(marker.lower())


def is_dead(remote: RemoteJob) -> bool:
    """Whether a job has ended without a model."""
    return remote.raw_status in _DEAD


def may_be(remote: RemoteJob, training_file: str | None) -> bool:
    """Whether a job without a suffix, which the service may leave out, could be this submission.

    One that has ended without a model needs no deciding: nothing more is paid for it.
    """
    if remote.suffix is not None or is_dead(remote):
        return False
    return remote.training_file in (None, training_file)


def _suffix(seen: Observed) -> str:
    recorded = hosted(seen.job.status).submission
    if recorded is None:
        raise ValueError("a submission is decided only once its marker is in status")
    return names.remote_suffix(seen.job, recorded.marker)


def _doubt(seen: Observed, policy: Policy, *, sends: bool) -> Outcome | None:
    """What finds out whether the job was created; None once it is certain that it was not.

    `sends`: then it is sent.
    """
    facts, suffix = seen.submission, _suffix(seen)
    if facts is None:
        raise ValueError("a marker in status is always known of")
    if facts.recorded_here and facts.posted_at is None:
        return None
    clear_at = _sure_at(facts, policy)
    last = facts.last_look_at
    if last is not None and last >= clear_at:
        return None
    next_look = seen.now
    if last is not None:
        next_look = min(clear_at, last + timedelta(seconds=policy.look_interval))
    if next_look <= seen.now and not seen.found.looked:
        return Outcome(action=Look(suffix=suffix))
    left = max(1.0, (next_look - seen.now).total_seconds())
    return _confirming(seen, policy, left, until=clear_at if sends else None)


def _is_stale(seen: Observed, policy: Policy) -> bool:
    """Whether what is certain was found out long ago, as before a suspension of hours."""
    facts = seen.submission
    if facts is None or seen.found.looked:
        return False
    certain_since = max(facts.known_since, facts.last_look_at or facts.known_since)
    return (seen.now - certain_since).total_seconds() > policy.list_lag


def _sure_at(facts: SubmissionFacts, policy: Policy) -> datetime:
    """From when on a search that finds nothing proves that the job was not created."""
    if facts.posted_at is not None:
        return facts.posted_at + timedelta(seconds=policy.list_lag)
    return facts.known_since + timedelta(seconds=policy.takeover_wait + policy.list_lag)


def _pause(seen: Observed, policy: Policy) -> Outcome | None:
    """A service that fails again and again is asked ever less often."""
    facts = seen.submission
    if facts is None or facts.posted_at is None or facts.unanswered < 2:
        return None
    pause = min(policy.list_lag * 2 ** min(facts.unanswered - 1, 10), _LONGEST_PAUSE)
    left = pause - (seen.now - facts.posted_at).total_seconds()
    return _confirming(seen, policy, left) if left > 0 else None


def _confirming(
    seen: Observed, policy: Policy, seconds: float, *, until: datetime | None = None
) -> Outcome:
    """Tells of the doubt, in the service's words if it had any; Stalled once that has lasted.

    `until`: when it is sent if it is not found, unless another leader takes over before.
    """
    facts, lasts = seen.submission, 0.0
    if facts is not None and facts.unanswered_since is not None:
        lasts = (seen.now - facts.unanswered_since).total_seconds()
    message = (facts and facts.told) or _LOOKING
    if until is not None and message is _LOOKING:
        by = until + timedelta(minutes=1)  # to the minute, and rather late: it is read by people
        message += f"; it is sent by {by:%H:%M} UTC unless it is found"
    left = policy.stalled_after - lasts
    tell = conditions.working if left > 0 else conditions.waiting_for_user
    return Outcome(
        summary=tell(Phase.PENDING, Reason.CONFIRMING_SUBMISSION, message),
        look_again_after=(min(seconds, left) if left > 0 else seconds) + 0.1,
    )
