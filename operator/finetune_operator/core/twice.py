"""A hosted job that trains the same already: taken over or asked about before another is paid for.

Pure. Status may have been lost (a restore, another cluster): then only the service knows.
"""

from finetune_api.constants import ADOPT_ANNOTATION, FORCE_NEW_ANNOTATION, SHORT_NAME
from finetune_api.job import ObjectMeta
from finetune_api.reasons import Phase, Reason
from finetune_api.status import AzureOpenAIStatus, FineTuneJobStatus, Submission
from finetune_operator.core import attempts, conditions, lineage, names
from finetune_operator.core.conditions import timestamp
from finetune_operator.core.observed import Observed, RemoteJob
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import FindEqual, Refresh, WriteStatus

_LONGEST_ID = 128
"""Of what status can hold."""
_LOOK_EVERY = 300.0
"""Seconds; an annotation wakes the job, this only sees that the other one is gone."""


def decide(seen: Observed, model: str) -> Outcome | None:
    """What is to be done about a job that trains the same; None: there is none, or it is wanted."""
    job = seen.job
    annotations = job.metadata.annotations
    if annotations.get(FORCE_NEW_ANNOTATION) == "true":
        return None
    if seen.found.equals is None:
        return Outcome(action=FindEqual(digest=names.marker_digest(job, model)))
    own = [found for found in seen.found.equals if _is_own(found, job.metadata)]
    if own:
        newest = max(own, key=lambda found: found.created_at)
        status = _taken_over(seen, newest.id, _submission(seen, newest, model))
        return Outcome(action=WriteStatus(status=_told(seen, status, model)))
    if not seen.found.equals:
        return None
    asked = annotations.get(ADOPT_ANNOTATION)
    if any(found.id == asked for found in seen.found.equals):
        status = _taken_over(seen, asked or "", None)
        return Outcome(action=WriteStatus(status=_told(seen, status, model)))
    return _asked(seen, seen.found.equals[0], model)


def adopt(seen: Observed, job_id: str) -> Outcome:
    """Follow a job made elsewhere, as an annotation asks, once it is known to be there."""
    if seen.followed_by is not None:
        message = (
            f"FineTuneJob {seen.followed_by} follows job {job_id} of the annotation"
            f" {ADOPT_ANNOTATION} already: name another, or delete that one with"
            " deletionPolicy.job: Keep first"
        )
        return _unadopted(seen, Reason.POSSIBLE_DUPLICATE, message)
    if seen.found.remote is None:
        return Outcome(action=Refresh(job_id=job_id))
    if seen.found.remote.job is None:
        message = f"The service does not know job {job_id} of {ADOPT_ANNOTATION}: correct it"
        return _unadopted(seen, Reason.REMOTE_JOB_NOT_FOUND, message)
    return Outcome(action=WriteStatus(status=_taken_over(seen, job_id, None)))


def to_adopt(seen: Observed) -> str | None:
    """The hosted job that an annotation names, for a FineTuneJob that never started."""
    asked = seen.job.metadata.annotations.get(ADOPT_ANNOTATION)
    return asked[:_LONGEST_ID] if asked and not seen.job.status.attempt else None


def _unadopted(seen: Observed, reason: Reason, message: str) -> Outcome:
    summary = conditions.waiting_for_user(Phase.PENDING, reason, message)
    return Outcome(status=seen.job.status, summary=summary, look_again_after=_LOOK_EVERY)


def _told(seen: Observed, status: FineTuneJobStatus, model: str) -> FineTuneJobStatus:
    """With what is said of the model that a stacked job started from."""
    facts, generation = lineage.facts(seen, model), seen.job.metadata.generation
    return conditions.merge(status, facts, generation=generation, now=seen.now)


def _is_own(remote: RemoteJob, meta: ObjectMeta) -> bool:
    """Whether this very object submitted it, in whatever attempt."""
    marker = (remote.suffix or "").lower()[-names.MARKER_LENGTH :]
    return marker.startswith(names.uid_part(meta.uid))


def _submission(seen: Observed, remote: RemoteJob, model: str) -> Submission:
    return Submission(
        marker=(remote.suffix or "").lower()[-names.MARKER_LENGTH :],
        attempt=(seen.job.status.attempt or 0) + 1,
        model=model,
        started_at=timestamp(remote.created_at),
    )


def _taken_over(seen: Observed, job_id: str, recorded: Submission | None) -> FineTuneJobStatus:
    job, kept = seen.job, seen.job.status.azure_open_ai or AzureOpenAIStatus()
    part = AzureOpenAIStatus(
        endpoint=job.spec.azure_open_ai.endpoint if job.spec.azure_open_ai else None,
        training_file_id=kept.training_file_id,
        validation_file_id=kept.validation_file_id,
        job_id=job_id,
        submission=recorded,
    )
    return attempts.begin(job, seen.now, azure_open_ai=part, progress=None, metrics=None)


def _asked(seen: Observed, found: RemoteJob, model: str) -> Outcome:
    meta = seen.job.metadata
    command = f"kubectl annotate {SHORT_NAME} -n {meta.namespace} {meta.name}"
    message = (
        f"Job {found.id} at the service ({found.raw_status}, created"
        f" {found.created_at:%Y-%m-%d %H:%M} UTC) trains the same on the same data, and no"
        " FineTuneJob that is served here follows it. To take it over:"
        f" {command} {ADOPT_ANNOTATION}={found.id}."
        f" To pay for another: {command} {FORCE_NEW_ANNOTATION}=true"
    )
    facts = lineage.facts(seen, model)
    summary = conditions.waiting_for_user(Phase.PENDING, Reason.POSSIBLE_DUPLICATE, message, *facts)
    return Outcome(status=seen.job.status, summary=summary, look_again_after=_LOOK_EVERY)
