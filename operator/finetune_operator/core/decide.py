"""The whole decision: what is observed in, one plan out. Read this file to know what happens when.

Pure: no I/O, no clock, no asyncio. The order of the questions is the order of importance.
"""

from dataclasses import replace

from finetune_api.constants import RETRY_ANNOTATION
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import Backend, FineTuneJobStatus
from finetune_operator.core import (
    attempts,
    azure_stage,
    conditions,
    ending,
    kubernetes_stage,
    names,
    prepare_stage,
)
from finetune_operator.core.conditions import Fact, Summary, timestamp
from finetune_operator.core.observed import Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import Plan, Policy, WriteStatus


def decide(seen: Observed, policy: Policy) -> Plan:
    """The next action, or the status to write and when to look again."""
    job = seen.job
    if job.metadata.deletion_timestamp is not None:
        return _planned(seen, ending.delete(seen, policy))
    if job.status.observed_generation is None:
        first = conditions.new(Reason.STARTING, "The operator has seen the job")
        return _planned(seen, Outcome(summary=first, again=True))
    if conditions.is_finished(job.status):
        return _planned(seen, _finished(seen))
    if job.spec.cancel:
        return _planned(seen, ending.cancel(seen, policy))
    if ending.deadline_passed(seen):
        return _planned(seen, ending.expire(seen, policy))
    return _planned(seen, _acknowledged(seen, _stage(seen, policy)))


def _stage(seen: Observed, policy: Policy) -> Outcome:
    hosted = ending.is_hosted(seen)
    if seen.job.spec.suspend:
        return azure_stage.suspend(seen, policy) if hosted else ending.suspend_in_cluster(seen)
    under_way = not attempts.is_over(seen.job.status)
    if not under_way and not prepare_stage.is_prepared(seen):
        accepted = prepare_stage.accepted_status(seen)
        if accepted is None:
            return prepare_stage.decide(seen, policy)
        seen = replace(seen, job=seen.job.model_copy(update={"status": accepted}))
    if hosted:
        return azure_stage.decide(seen, policy)
    return kubernetes_stage.decide(seen, policy)


def _retry_token(seen: Observed) -> str | None:
    """A retry that was asked for and not acknowledged yet."""
    token = seen.job.metadata.annotations.get(RETRY_ANNOTATION)
    if token is None:
        return None
    token = token[:253]
    return None if token == seen.job.status.last_handled_retry_at else token


def _acknowledged(seen: Observed, outcome: Outcome) -> Outcome:
    """A retry asked of a job that has not ended needs nothing but to be acknowledged."""
    token = _retry_token(seen)
    if token is None or outcome.action is not None:
        return outcome
    status = outcome.status or seen.job.status
    told = status.model_copy(update={"last_handled_retry_at": token})
    return Outcome(
        status=_keep_report(seen, told),
        summary=outcome.summary,
        finished=outcome.finished,
        again=outcome.again,
        look_again_after=outcome.look_again_after,
    )


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
        return ending.clean_up(seen)
    succeeded = conditions.is_true(seen.job.status, ConditionType.SUCCEEDED)
    if seen.job.spec.cancel or succeeded:
        return Outcome(
            status=seen.job.status.model_copy(update={"last_handled_retry_at": token}),
            summary=_unretried(seen, succeeded=succeeded),
        )
    return Outcome(action=WriteStatus(status=_restarted(seen, token)))


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


def _restarted(seen: Observed, token: str) -> FineTuneJobStatus:
    """Status of a job that starts anew because somebody asked: token and Stalled go together."""
    status = seen.job.status
    kubernetes = status.kubernetes
    if kubernetes is not None:
        kubernetes = kubernetes.model_copy(update={"replacements": None, "replaced_at_step": None})
    fresh = status.model_copy(
        update={
            "last_handled_retry_at": token,
            "start_time": None,
            "completion_time": None,
            "retries": None,
            "result": None,
            "kubernetes": kubernetes,
        }
    )
    gone = (ConditionType.SUCCEEDED, ConditionType.CANCELLED, ConditionType.TRAINING_COMPLETE)
    summary = conditions.working(
        Phase.PENDING,
        Reason.RETRY_REQUESTED,
        "Starting again as the retry annotation asks",
        *(Fact(type=kind, status=None) for kind in gone),
    )
    generation = seen.job.metadata.generation
    return conditions.summarise(fresh, summary, generation=generation, now=seen.now)


def _columns(seen: Observed, status: FineTuneJobStatus) -> FineTuneJobStatus:
    """What printer columns need, because a column is one path."""
    spec = seen.job.spec
    model = spec.model.name or (spec.model.uri or "").rstrip("/").rsplit("/", 1)[-1]
    return status.model_copy(
        update={
            "backend": Backend.AZURE_OPENAI if spec.azure_open_ai else Backend.KUBERNETES,
            "method": spec.method.type,
            "model": model[:253],
        }
    )


def _planned(seen: Observed, outcome: Outcome) -> Plan:
    """The plan of an outcome: its status with conditions, columns and times."""
    status = outcome.status or seen.job.status
    generation = seen.job.metadata.generation
    if outcome.summary is not None:
        status = conditions.summarise(status, outcome.summary, generation=generation, now=seen.now)
    elif outcome.action is None and seen.job.metadata.deletion_timestamp is None:
        status = status.model_copy(update={"observed_generation": generation})
    if outcome.finished:
        status = status.model_copy(update={"completion_time": timestamp(seen.now)})
    status = _columns(seen, status)
    return Plan(
        status=status, action=outcome.action, look_again_after=_look_again(seen, outcome, status)
    )


def _look_again(seen: Observed, outcome: Outcome, status: FineTuneJobStatus) -> float | None:
    if outcome.again or outcome.finished:
        return 0.0
    moments = [outcome.look_again_after, ending.seconds_to_deadline(seen)]
    if conditions.is_finished(status):
        moments.pop()
    due = [max(0.0, moment) for moment in moments if moment is not None]
    return min(due) if due else None
