"""The whole decision: what is observed in, one plan out. Read this file to know what happens when.

Pure: no I/O, no clock, no asyncio. The order of the questions is the order of importance.
"""

from dataclasses import replace

from finetune_api.constants import RETRY_ANNOTATION
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import (
    AzureOpenAIStatus,
    Backend,
    FineTuneJobStatus,
    KubernetesStatus,
)
from finetune_operator.core import (
    attempts,
    azure_stage,
    claims,
    conditions,
    ending,
    kubernetes_stage,
    names,
    pod_story,
    prepare_stage,
    twice,
)
from finetune_operator.core.conditions import Fact, Summary, timestamp
from finetune_operator.core.observed import Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import Plan, Policy, WriteStatus


def decide(seen: Observed, policy: Policy) -> Plan:
    """The next action, or the status to write and when to look again."""
    seen = replace(seen, job=pod_story.with_last_words(seen))
    job = seen.job
    if job.metadata.deletion_timestamp is not None:
        return _planned(seen, policy, ending.delete(seen, policy))
    if job.status.observed_generation is None:
        return _planned(seen, policy, _new(seen))
    if (owned := claims.decide(seen)) is not None:
        return _planned(seen, policy, owned)
    if conditions.is_finished(job.status):
        return _planned(seen, policy, _finished(seen))
    if job.spec.cancel or conditions.cancel_was_asked(job.status):
        return _planned(seen, policy, ending.cancel(seen, policy))
    if ending.deadline_passed(seen):
        return _planned(seen, policy, ending.expire(seen, policy))
    return _planned(seen, policy, _acknowledged(seen, _stage(seen, policy)))


def _new(seen: Observed) -> Outcome:
    """Seen for the first time; a retry asked for in the manifest itself is this very run."""
    token = _retry_token(seen)
    status = seen.job.status.model_copy(update={"last_handled_retry_at": token})
    first = conditions.new(Reason.STARTING, "The operator has seen the job")
    return Outcome(status=status, summary=first, again=True)


def _stage(seen: Observed, policy: Policy) -> Outcome:
    if seen.job.spec.suspend:
        return ending.suspend(seen, policy)
    under_way = not attempts.is_over(seen.job.status)
    if ending.is_hosted(seen) and (adopted := twice.to_adopt(seen)) is not None:
        return azure_stage.adopt(seen, adopted)
    if not under_way and not prepare_stage.is_prepared(seen):
        accepted = prepare_stage.accepted_status(seen)
        if accepted is None:
            return prepare_stage.decide(seen, policy)
        seen = replace(seen, job=seen.job.model_copy(update={"status": accepted}))
    if not under_way and seen.job.spec.validate_only:
        return prepare_stage.validated(seen)
    if ending.is_hosted(seen):
        return azure_stage.decide(seen, policy)
    return kubernetes_stage.decide(seen, policy)


def _retry_token(seen: Observed) -> str | None:
    """A retry that was asked for and not acknowledged yet."""
    token = seen.job.metadata.annotations.get(RETRY_ANNOTATION)
    if not token:
        return None
    token = token[:253]
    return None if token == seen.job.status.last_handled_retry_at else token


def _acknowledged(seen: Observed, outcome: Outcome) -> Outcome:
    """A retry asked of a job that has not ended needs nothing but to be acknowledged.

    One that ends at this very moment starts again at once, as its next decision finds.
    """
    token = _retry_token(seen)
    if token is None or outcome.action is not None or outcome.finished:
        return outcome
    status = outcome.status or seen.job.status
    told = status.model_copy(update={"last_handled_retry_at": token})
    return replace(outcome, status=_keep_report(seen, told), again=True)


def _keep_report(seen: Observed, status: FineTuneJobStatus) -> FineTuneJobStatus:
    """The data was not read again for this retry: what was found stays good."""
    if status.data is None or not prepare_stage.is_prepared(seen):
        return status
    digest = names.spec_digest(seen.job, status.last_handled_retry_at)
    return status.model_copy(
        update={"data": status.data.model_copy(update={"spec_digest": digest})}
    )


def _finished(seen: Observed) -> Outcome:
    token = _retry_token(seen)
    if token is None:
        current = conditions.restamp(seen.job.status, seen.job.metadata)
        return replace(ending.clean_up(seen), status=current, summary=_edited_since(seen))
    succeeded = conditions.has_model(seen.job.status)
    if seen.job.spec.cancel or succeeded:
        return Outcome(
            status=seen.job.status.model_copy(update={"last_handled_retry_at": token}),
            summary=_unretried(seen, succeeded=succeeded),
            again=True,
        )
    return Outcome(action=WriteStatus(status=_restarted(seen, token)))


def _edited_since(seen: Observed) -> Summary | None:
    """An edit runs nothing by itself: whoever mends the spec of a job that is over is told so.

    The first look after it says so; `Succeeded` keeps the sentence that the job ended with.
    """
    meta, status = seen.job.metadata, seen.job.status
    ready = conditions.get(status, ConditionType.READY)
    ended = conditions.get(status, ConditionType.SUCCEEDED)
    over = ended is not None and ended.status is conditions.FALSE
    stopped = seen.job.spec.cancel or seen.job.spec.suspend
    if ready is None or ended is None or not over or stopped:
        return None
    if status.observed_generation == meta.generation:
        return None
    return Summary(
        phase=status.phase or Phase.FAILED,
        reason=Reason(ready.reason),
        message="The spec has been changed since the job ended; to run it as it is now:"
        f" {conditions.retry_command(meta)}."
        f" It ended with: {ended.message}",
        stalled=True,
    )


def _unretried(seen: Observed, *, succeeded: bool) -> Summary:
    if succeeded:
        return conditions.succeeded(
            f"{seen.job.status.result.model if seen.job.status.result else 'The model'} is there:"
            " to train again, create a new FineTuneJob"
        )
    summary = conditions.cancelled("A retry was asked for, but spec.cancel is true: unset it first")
    reason = Reason.CANCEL_REQUESTED
    return Summary(
        phase=Phase.CANCELLED,
        reason=reason,
        message=summary.message,
        stalled=True,
        extra=summary.extra,
    )


_OF_A_RUN = (
    ConditionType.DATA_VALID,
    ConditionType.MODEL_READY,
    ConditionType.SUBMITTED,
    ConditionType.QUOTA_RESERVED,
    ConditionType.TRAINING_COMPLETE,
    ConditionType.OVERFITTING,
    ConditionType.UNDERFITTING,
    ConditionType.CANCELLED,
    ConditionType.SUCCEEDED,
)
"""Conditions that say something of one run, and nothing of the next."""


def _restarted(seen: Observed, token: str) -> FineTuneJobStatus:
    """Status of a job that starts anew because somebody asked: token and Stalled go together."""
    status = seen.job.status
    kubernetes, hosted = status.kubernetes, status.azure_open_ai
    if kubernetes is not None:
        kubernetes = KubernetesStatus(queue_name=kubernetes.queue_name)
    if hosted is not None:
        hosted = AzureOpenAIStatus(
            endpoint=hosted.endpoint,
            training_file_id=hosted.training_file_id,
            validation_file_id=hosted.validation_file_id,
        )
    fresh = status.model_copy(
        update={
            "last_handled_retry_at": token,
            "start_time": None,
            "completion_time": None,
            "retries": None,
            "result": None,
            "kubernetes": kubernetes,
            "azure_open_ai": hosted,
            "progress": None,
            "metrics": None,
        }
    )
    summary = conditions.working(
        Phase.PENDING,
        Reason.RETRY_REQUESTED,
        "Starting again as the retry annotation asks",
        *(Fact(type=kind, status=None) for kind in _OF_A_RUN),
    )
    return conditions.summarise(fresh, summary, meta=seen.job.metadata, now=seen.now)


def _columns(seen: Observed, status: FineTuneJobStatus) -> FineTuneJobStatus:
    """What printer columns need, because a column is one path."""
    spec = seen.job.spec
    model = spec.model.name or (spec.model.uri or "").rstrip("/").rsplit("/", 1)[-1]
    if spec.model.job_ref is not None:
        model = f"ftj/{spec.model.job_ref.name}"
    return status.model_copy(
        update={
            "backend": Backend.AZURE_OPENAI if spec.azure_open_ai else Backend.KUBERNETES,
            "method": spec.method.type,
            "model": model[:253],
        }
    )


def _planned(seen: Observed, policy: Policy, outcome: Outcome) -> Plan:
    """The plan of an outcome: its status with conditions, columns and times."""
    status = outcome.status or seen.job.status
    meta = seen.job.metadata
    if outcome.summary is not None:
        status = conditions.summarise(status, outcome.summary, meta=meta, now=seen.now)
    elif outcome.action is None and meta.deletion_timestamp is None:
        status = status.model_copy(update={"observed_generation": meta.generation})
    if outcome.finished:
        status = status.model_copy(update={"completion_time": timestamp(seen.now)})
    status = _columns(seen, status)
    again = 0.0 if outcome.again or outcome.finished else outcome.look_again_after
    moments = [again, ending.seconds_to_turn(seen, policy)]
    due = [max(0.0, moment) for moment in moments if moment is not None]
    return Plan(status=status, action=outcome.action, look_again_after=min(due) if due else None)
