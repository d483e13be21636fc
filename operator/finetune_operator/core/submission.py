"""The submission of a hosted job: its marker first, then one request, and a search when in doubt.

Pure. Whoever finds a marker without an id looks for the job before anything is sent again.
"""

from datetime import datetime, timedelta

from finetune_api.reasons import Phase, Reason
from finetune_api.status import AzureOpenAIStatus, FineTuneJobStatus, Submission
from finetune_operator.core import attempts, conditions, names
from finetune_operator.core.conditions import timestamp
from finetune_operator.core.observed import Observed, SubmissionFacts
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import Look, Policy, Submit


def hosted(status: FineTuneJobStatus) -> AzureOpenAIStatus:
    """The hosted part of status, empty at first."""
    return status.azure_open_ai or AzureOpenAIStatus()


def begin(seen: Observed) -> FineTuneJobStatus:
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


def submit(seen: Observed, policy: Policy) -> Outcome:
    """Send, or first make sure that nobody has sent it before."""
    doubt = _doubt(seen, policy)
    return Outcome(action=Submit(suffix=_suffix(seen))) if doubt is None else doubt


def settle(seen: Observed, policy: Policy) -> Outcome:
    """A submission whose fate is not known is settled by looking, never by sending."""
    doubt = _doubt(seen, policy)
    return never_submitted() if doubt is None else doubt


def never_submitted() -> Outcome:
    """Nothing was created at the service, and nothing is while the job is suspended."""
    return Outcome(summary=conditions.suspended("Suspended before anything was submitted"))


def _suffix(seen: Observed) -> str:
    recorded = hosted(seen.job.status).submission
    if recorded is None:
        raise ValueError("a submission is decided only once its marker is in status")
    return names.remote_suffix(seen.job, recorded.marker)


def _doubt(seen: Observed, policy: Policy) -> Outcome | None:
    """What finds out whether the job was created; None once it is certain that it was not."""
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
    return _confirming(max(1.0, (next_look - seen.now).total_seconds()))


def _sure_at(facts: SubmissionFacts, policy: Policy) -> datetime:
    """From when on a search that finds nothing proves that the job was not created."""
    if facts.posted_at is not None:
        return facts.posted_at + timedelta(seconds=policy.list_lag)
    return facts.known_since + timedelta(seconds=policy.takeover_wait + policy.list_lag)


def _confirming(seconds: float) -> Outcome:
    message = "Making sure that the job was not created before, so that it is paid for once"
    return Outcome(
        summary=conditions.working(Phase.PENDING, Reason.CONFIRMING_SUBMISSION, message),
        look_again_after=seconds + 0.1,
    )
