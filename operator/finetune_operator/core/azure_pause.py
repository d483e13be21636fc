"""Pausing a hosted job: asked for once the service allows it, remembered until then.

Pure. Going on again is part of following the job (`azure_stage`).
"""

from finetune_api.reasons import Phase, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.core import azure_stage, conditions, submission
from finetune_operator.core.observed import TERMINAL, Observed, Remote, RemoteJob
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import PauseRemote, Policy, WriteStatus


def suspend(seen: Observed, policy: Policy) -> Outcome:
    """Pause at the service once it allows it; a job that is not there yet is not created."""
    status, remote = seen.job.status, seen.remote
    part = submission.hosted(status)
    if not submission.is_there(status):
        return submission.never_submitted()
    if (held := azure_stage.finalizer(seen)) is not None:
        return held
    if part.job_id is None:
        return submission.settle(seen, policy)
    if remote is None or remote.job is None:
        return azure_stage.followed(seen, policy)
    return submission.then_duplicates(seen, _suspended(seen, policy, remote, remote.job))


def _suspended(seen: Observed, policy: Policy, remote: Remote, job: RemoteJob) -> Outcome:
    if job.raw_status in TERMINAL:
        return azure_stage.followed(seen, policy)
    told = azure_stage.follow(seen, remote, job)
    if job.raw_status == "paused":
        summary = conditions.suspended("The service paused the job")
        return Outcome(status=told, summary=summary, look_again_after=azure_stage.FOLLOW_EVERY)
    return _pause(seen, told, remote, job)


def _pause(seen: Observed, told: FineTuneJobStatus, remote: Remote, job: RemoteJob) -> Outcome:
    """Ask for the pause where the service allows it; that it was asked for is written before."""
    possible = job.raw_status == "running" and (remote.details.step or 0) >= 1
    under_way = job.raw_status == "pausing" or (possible and seen.found.asked)
    if not possible and not under_way:
        message = "The service allows a pause only after the first step; it is paused then"
        phase = Phase.QUEUED if job.raw_status in azure_stage.PENDING else Phase.RUNNING
        summary = conditions.working(phase, Reason.PAUSING, message, *azure_stage.accepted())
        return Outcome(status=told, summary=summary, look_again_after=azure_stage.ASK_AGAIN)
    if possible and seen.pause_refused:
        return _unpaused(seen, told)
    summary = conditions.pausing(Phase.RUNNING, "The service is pausing the job")
    if possible and not conditions.pause_was_asked(seen.job.status):
        noted = conditions.summarise(told, summary, meta=seen.job.metadata, now=seen.now)
        return Outcome(action=WriteStatus(status=noted))
    if possible and not seen.found.asked:
        return Outcome(action=PauseRemote(job_id=job.id))
    return Outcome(status=told, summary=summary, look_again_after=azure_stage.ASK_AGAIN)


def _unpaused(seen: Observed, told: FineTuneJobStatus) -> Outcome:
    """The service has said no, which asking at every look would not change."""
    message = (
        f"{seen.pause_refused} Only some models can be paused: unset spec.suspend to let the job"
        " train, or set spec.cancel to stop it."
    )
    summary = conditions.waiting_for_user(
        Phase.RUNNING, Reason.REQUEST_REFUSED, message, *azure_stage.accepted()
    )
    kept = conditions.keep_suspended(seen.job.status, summary)
    return Outcome(status=told, summary=kept, look_again_after=azure_stage.FOLLOW_EVERY)
