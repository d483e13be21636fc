"""What a stacked job starts from: another FineTuneJob's result, and the wait for it.

Pure. A parent that failed may be retried: nothing is spent yet, so that ends nothing here.
"""

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.sources import JobRef
from finetune_api.status import ResultCheckpoint
from finetune_operator.core import conditions
from finetune_operator.core.conditions import FALSE, TRUE, Fact
from finetune_operator.core.observed import Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import Policy

_FINAL = "Final"


class _NotYetError(Exception):
    """The model is not there.

    Attributes:
        reason: Why, in a word.
        by_itself: Nobody needs to act.
        told: Somebody must, and knows already: there is no use in waiting first.
    """

    def __init__(
        self, reason: Reason, message: str, *, by_itself: bool = False, told: bool = False
    ) -> None:
        super().__init__(message)
        self.reason, self.by_itself, self.told = reason, by_itself, told


def waits(seen: Observed, policy: Policy) -> Outcome | None:
    """What the job waits for before it can start; None: the model is there."""
    try:
        start_model(seen)
    except _NotYetError as not_yet:
        return _waiting(seen, policy, not_yet, str(not_yet))
    return None


def start_model(seen: Observed) -> str:
    """The name that the service knows the model by."""
    asked = seen.job.spec.model
    if asked.job_ref is None:
        return asked.name or ""
    return _result_of(seen, asked.job_ref)


def facts(seen: Observed, model: str) -> tuple[Fact, ...]:
    """What conditions say of a model that came from another job."""
    ref = seen.job.spec.model.job_ref
    if ref is None:
        return ()
    message = (
        f"Starts from {model}, the result of FineTuneJob {ref.name} ({ref.checkpoint or _FINAL})"
    )
    reason = Reason.PARENT_SUCCEEDED
    return (Fact(type=ConditionType.MODEL_READY, status=TRUE, reason=reason, message=message),)


def _waiting(seen: Observed, policy: Policy, not_yet: _NotYetError, message: str) -> Outcome:
    known = conditions.get(seen.job.status, ConditionType.MODEL_READY)
    since = conditions.parse_time(known.last_transition_time) if known else seen.now
    left = policy.stalled_after - (seen.now - since).total_seconds()
    working = not_yet.by_itself or (left > 0 and not not_yet.told)
    tell = conditions.working if working else conditions.waiting_for_user
    fact = Fact(
        type=ConditionType.MODEL_READY, status=FALSE, reason=not_yet.reason, message=message
    )
    return Outcome(
        summary=tell(Phase.PENDING, not_yet.reason, message, fact),
        look_again_after=left if working and not not_yet.by_itself else None,
    )


def _result_of(seen: Observed, ref: JobRef) -> str:
    if not seen.parents:
        raise _NotYetError(
            Reason.PARENT_NOT_FOUND,
            f"FineTuneJob {ref.name} of `model.jobRef` does not exist in this namespace: apply it",
        )
    names = [parent.metadata.name for parent in seen.parents]
    if seen.job.metadata.name in names:
        circle = " → ".join([seen.job.metadata.name, *names])
        raise _NotYetError(
            Reason.PARENTS_IN_A_CIRCLE,
            f"`model.jobRef` leads in a circle ({circle}), so none of these jobs can start:"
            " delete one and create it anew",
            told=True,
        )
    parent = seen.parents[0]
    _check_end(parent, ref)
    _check_account(seen.job, parent, ref)
    return _chosen(parent, ref)


def _check_end(parent: FineTuneJob, ref: JobRef) -> None:
    """The parent must have succeeded."""
    status = parent.status
    if conditions.has_model(status):
        return
    if conditions.is_true(status, ConditionType.SUCCEEDED):
        raise _NotYetError(
            Reason.PARENT_FAILED,
            f"FineTuneJob {ref.name} of `model.jobRef` has only looked at its data: set its"
            " validateOnly to false and ask for a retry",
            told=True,
        )
    if conditions.is_finished(status):
        raise _NotYetError(
            Reason.PARENT_FAILED,
            f"FineTuneJob {ref.name} of `model.jobRef` is {status.phase}: retry it, or delete this"
            f" job and create it with another model. It says: {status.message}",
            told=True,
        )
    phase = status.phase or Phase.PENDING
    raise _NotYetError(
        Reason.WAITING_FOR_PARENT,
        f"Waiting for FineTuneJob {ref.name}, which is {phase}",
        by_itself=True,
    )


def _check_account(job: FineTuneJob, parent: FineTuneJob, ref: JobRef) -> None:
    """The service starts only from models of the account that trains."""
    own, other = job.spec.azure_open_ai, parent.spec.azure_open_ai
    if own is None or other is None or own.endpoint.rstrip("/") != other.endpoint.rstrip("/"):
        where = "in the cluster" if other is None else f"at {other.endpoint}"
        raise _NotYetError(
            Reason.PARENT_ELSEWHERE,
            f"FineTuneJob {ref.name} of `model.jobRef` trained {where}, and the service starts only"
            " from models of the same account: use one endpoint for both jobs",
            told=True,
        )


def _chosen(parent: FineTuneJob, ref: JobRef) -> str:
    result = parent.status.result
    if result is None:
        raise ValueError("a job that succeeded has a result")
    kept = result.checkpoints or []
    match ref.checkpoint or _FINAL:
        case "Final":
            return result.model
        case "Best":
            found = min((point for point in kept if _loss(point)), key=_by_loss, default=None)
            lacks = "has no checkpoint with a validation loss: choose Final"
        case named:
            step = int(named.removeprefix("step-"))
            found = next((point for point in kept if point.step == step), None)
            steps = ", ".join(f"step-{point.step}" for point in kept) or "none"
            lacks = f"has no checkpoint {named}: there are {steps}"
    if found is None:
        raise _NotYetError(
            Reason.CHECKPOINT_NOT_FOUND,
            f"FineTuneJob {ref.name} of `model.jobRef` {lacks}",
            told=True,
        )
    return found.name


def _loss(point: ResultCheckpoint) -> str | None:
    return point.metrics.validation_loss if point.metrics else None


def _by_loss(point: ResultCheckpoint) -> float:
    return float(_loss(point) or "inf")
