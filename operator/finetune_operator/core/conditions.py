"""Conditions and the printed phase: one table for kstatus, Argo CD and people.

Pure: knows statuses and words. lastTransitionTime moves only with a condition's status.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from finetune_api.constants import RETRY_ANNOTATION, SHORT_NAME
from finetune_api.job import ObjectMeta
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import Condition, ConditionStatus, FineTuneJobStatus

_MESSAGE_LIMIT = 1024

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second, as the API server writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The moment that an RFC 3339 text names."""
    return datetime.fromisoformat(text)


def bounded(message: str, limit: int = _MESSAGE_LIMIT) -> str:
    """The message, cut where status would refuse it."""
    return message if len(message) <= limit else message[: limit - 1] + "…"


def retry_command(meta: ObjectMeta) -> str:
    """What to type so that this job, which is over, runs again."""
    return (
        f"kubectl annotate {SHORT_NAME} -n {meta.namespace} {meta.name} --overwrite"
        f' {RETRY_ANNOTATION}="$(date +%s)"'
    )


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A condition that should hold; `status` None removes it."""

    type: ConditionType
    status: ConditionStatus | None
    reason: Reason = Reason.STARTING
    message: str = ""


def get(status: FineTuneJobStatus, kind: ConditionType) -> Condition | None:
    """The condition of this type, if there is one."""
    return next((c for c in status.conditions if c.type == kind), None)


def is_true(status: FineTuneJobStatus, kind: ConditionType) -> bool:
    """Whether the condition is there and True."""
    found = get(status, kind)
    return found is not None and found.status is TRUE


def is_stalled_by(status: FineTuneJobStatus, reason: Reason) -> bool:
    """Whether the job has been waiting for the user for this reason."""
    found = get(status, ConditionType.STALLED)
    return found is not None and found.status is TRUE and found.reason == reason


def is_finished(status: FineTuneJobStatus) -> bool:
    """Whether the job is terminal: Succeeded is True or False."""
    found = get(status, ConditionType.SUCCEEDED)
    return found is not None and found.status is not UNKNOWN


def has_model(status: FineTuneJobStatus) -> bool:
    """Whether the job succeeded in training, and not only in looking at its data."""
    return is_true(status, ConditionType.SUCCEEDED) and is_true(
        status, ConditionType.TRAINING_COMPLETE
    )


def pause_was_asked(status: FineTuneJobStatus) -> bool:
    """Whether a pause was begun or done on the user's request; written before it is begun."""
    return get(status, ConditionType.SUSPENDED) is not None


def cancel_was_asked(status: FineTuneJobStatus) -> bool:
    """Whether cancelling has begun, so that setting `cancel` back changes nothing."""
    return get(status, ConditionType.CANCELLED) is not None


def merge(
    status: FineTuneJobStatus, facts: Iterable[Fact], *, generation: int, now: datetime
) -> FineTuneJobStatus:
    """The status with these facts; foreign conditions stay, unchanged ones keep their time."""
    merged = {c.type: c for c in status.conditions}
    for fact in facts:
        old = merged.pop(fact.type, None)
        if fact.status is None:
            continue
        moved = old is None or old.status is not fact.status
        merged[fact.type] = Condition(
            type=fact.type,
            status=fact.status,
            reason=fact.reason,
            message=bounded(fact.message),
            last_transition_time=timestamp(now) if moved or not old else old.last_transition_time,
            observed_generation=generation,
        )
    ordered = sorted(merged.values(), key=_position)
    return status.model_copy(update={"conditions": ordered})


def restamp(status: FineTuneJobStatus, meta: ObjectMeta) -> FineTuneJobStatus:
    """The status of a job that is over, looked at again: what it says holds for any later spec.

    `kubectl wait` passes over a condition of an older generation.
    """
    current = [
        c.model_copy(update={"observed_generation": meta.generation}) if c.type in _ORDER else c
        for c in status.conditions
    ]
    return status.model_copy(update={"conditions": current})


_ORDER = {kind: position for position, kind in enumerate(ConditionType)}


def _position(condition: Condition) -> tuple[int, str]:
    known = condition.type in _ORDER
    return (_ORDER[ConditionType(condition.type)] if known else len(_ORDER), condition.type)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What readers of Ready, Reconciling and Stalled shall understand."""

    phase: Phase
    reason: Reason
    message: str
    ready: ConditionStatus = FALSE
    reconciling: bool = False
    stalled: bool = False
    extra: tuple[Fact, ...] = ()
    can_run_again: bool = False
    """Stalled says how, after its message, and that is never cut."""


def new(reason: Reason, message: str) -> Summary:
    """New, or a spec not looked at yet."""
    return Summary(
        phase=Phase.PENDING, reason=reason, message=message, ready=UNKNOWN, reconciling=True
    )


def working(phase: Phase, reason: Reason, message: str, *extra: Fact) -> Summary:
    """Waiting or running; nobody needs to act."""
    return Summary(phase=phase, reason=reason, message=message, reconciling=True, extra=extra)


def waiting_for_user(phase: Phase, reason: Reason, message: str, *extra: Fact) -> Summary:
    """Waits for somebody to mend something; clears itself."""
    return Summary(phase=phase, reason=reason, message=message, stalled=True, extra=extra)


def pausing(phase: Phase, message: str) -> Summary:
    """On the way to a pause that was asked for."""
    fact = Fact(type=ConditionType.SUSPENDED, status=FALSE, reason=Reason.PAUSING, message=message)
    return working(phase, Reason.PAUSING, message, fact)


def cancelling(phase: Phase, message: str) -> Summary:
    """On the way to the end that was asked for."""
    reason = Reason.CANCELLING
    fact = Fact(type=ConditionType.CANCELLED, status=FALSE, reason=reason, message=message)
    return working(phase, reason, message, fact)


def suspended(message: str) -> Summary:
    """Paused on request, and really at rest."""
    fact = Fact(type=ConditionType.SUSPENDED, status=TRUE, reason=Reason.SUSPENDED, message=message)
    return Summary(phase=Phase.SUSPENDED, reason=Reason.SUSPENDED, message=message, extra=(fact,))


def keep_suspended(status: FineTuneJobStatus, summary: Summary) -> Summary:
    """A pause of ours is remembered through errors: it is what allows a resume."""
    found = get(status, ConditionType.SUSPENDED)
    if found is None:
        return summary
    kept = Fact(
        type=ConditionType.SUSPENDED,
        status=found.status,
        reason=Reason(found.reason),
        message=found.message,
    )
    return replace(summary, extra=(*summary.extra, kept))


def succeeded(message: str) -> Summary:
    """Done; the result can be used."""
    done = Fact(type=ConditionType.SUCCEEDED, status=TRUE, reason=Reason.SUCCEEDED, message=message)
    trained = Fact(
        type=ConditionType.TRAINING_COMPLETE, status=TRUE, reason=Reason.SUCCEEDED, message=message
    )
    return Summary(
        phase=Phase.SUCCEEDED,
        reason=Reason.SUCCEEDED,
        message=message,
        ready=TRUE,
        extra=(done, trained, Fact(type=ConditionType.CANCELLED, status=None)),
    )


def validated(message: str) -> Summary:
    """Done, as only the data was to be looked at."""
    reason = Reason.DATA_ACCEPTED
    fact = Fact(type=ConditionType.SUCCEEDED, status=TRUE, reason=reason, message=message)
    return Summary(phase=Phase.SUCCEEDED, reason=reason, message=message, ready=TRUE, extra=(fact,))


_NEW_JOB = "new FineTuneJob"
"""What only another job mends is not helped by running this one again."""


def failed(reason: Reason, message: str, *extra: Fact) -> Summary:
    """Over, without a result, until a retry is asked for."""
    fact = Fact(type=ConditionType.SUCCEEDED, status=FALSE, reason=reason, message=message)
    return Summary(
        phase=Phase.FAILED,
        reason=reason,
        message=message,
        stalled=True,
        extra=(fact, *extra),
        can_run_again=_NEW_JOB not in message,
    )


def cancelled(message: str) -> Summary:
    """Stopped on request."""
    reason = Reason.CANCELLED
    facts = (
        Fact(type=ConditionType.CANCELLED, status=TRUE, reason=reason, message=message),
        Fact(type=ConditionType.SUCCEEDED, status=FALSE, reason=reason, message=message),
    )
    return Summary(phase=Phase.CANCELLED, reason=reason, message=message, stalled=True, extra=facts)


def summarise(
    status: FineTuneJobStatus, summary: Summary, *, meta: ObjectMeta, now: datetime
) -> FineTuneJobStatus:
    """The status with phase, message and the conditions of this summary."""
    reason, message = summary.reason, summary.message
    advice = f" (to run it again: {retry_command(meta)})" if summary.can_run_again else ""
    facts = [
        Fact(type=ConditionType.READY, status=summary.ready, reason=reason, message=message),
        Fact(
            type=ConditionType.RECONCILING,
            status=TRUE if summary.reconciling else None,
            reason=reason,
            message=message,
        ),
        Fact(
            type=ConditionType.STALLED,
            status=TRUE if summary.stalled else None,
            reason=reason,
            message=bounded(message, _MESSAGE_LIMIT - len(advice)) + advice,
        ),
        Fact(type=ConditionType.SUSPENDED, status=None),
        *summary.extra,
    ]
    merged = merge(status, facts, generation=meta.generation, now=now)
    return merged.model_copy(
        update={
            "observed_generation": meta.generation,
            "phase": summary.phase,
            "message": bounded(message),
        }
    )
