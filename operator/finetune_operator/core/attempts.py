"""Attempts: when one begins, what is noted of it, how it ended; the list in status stays short.

Pure; the same for both backends.
"""

from datetime import datetime

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import MAX_ATTEMPTS_SHOWN, Attempt, FineTuneJobStatus
from finetune_operator.core import conditions
from finetune_operator.core.conditions import Fact, parse_time, timestamp


def is_over(status: FineTuneJobStatus) -> bool:
    """Whether no attempt is under way."""
    return not status.attempts or status.attempts[-1].end_time is not None


def begin(
    job: FineTuneJob, now: datetime, *, above: int = 0, **backend: object
) -> FineTuneJobStatus:
    """Status with the next attempt, numbered above all that are known of.

    What is frozen from here on is the generation that was read.
    """
    status = job.status
    number = max(status.attempt or 0, above) + 1
    shown = [*(status.attempts or []), Attempt(number=number, start_time=timestamp(now))]
    begun = status.model_copy(
        update={
            "started_generation": job.metadata.generation,
            "start_time": status.start_time or timestamp(now),
            "attempt": number,
            "attempts": shown[-MAX_ATTEMPTS_SHOWN:],
            **backend,
        }
    )
    earlier = (ConditionType.SUBMITTED, ConditionType.QUOTA_RESERVED)
    summary = conditions.working(
        Phase.PENDING,
        Reason.STARTING,
        f"Starting attempt {number}",
        *(Fact(type=kind, status=None) for kind in earlier),
    )
    return conditions.summarise(begun, summary, meta=job.metadata, now=now)


def note(status: FineTuneJobStatus, *, step: int | None, node: str | None) -> FineTuneJobStatus:
    """Status with the step and the node of the current attempt, where they are known."""
    if not status.attempts:
        return status
    known = {key: value for key, value in (("step", step), ("node", node)) if value is not None}
    last = status.attempts[-1].model_copy(update=known)
    return status.model_copy(update={"attempts": [*status.attempts[:-1], last]})


def end(
    status: FineTuneJobStatus, now: datetime, reason: Reason, message: str
) -> FineTuneJobStatus:
    """Status with the current attempt ended; an attempt that is over stays as it is.

    When it was expected to end is said no more.
    """
    if is_over(status) or not status.attempts:
        return status
    last = status.attempts[-1].model_copy(
        update={
            "end_time": timestamp(now),
            "reason": reason,
            "message": conditions.bounded(message) or None,
        }
    )
    progress, hosted = status.progress, status.azure_open_ai
    return status.model_copy(
        update={
            "attempts": [*status.attempts[:-1], last],
            "progress": progress and progress.model_copy(update={"eta": None}),
            "azure_open_ai": hosted and hosted.model_copy(update={"estimated_finish": None}),
        }
    )


def remark(status: FineTuneJobStatus, message: str) -> FineTuneJobStatus:
    """Status with what came to light about the last attempt after its end, and is said once."""
    if not status.attempts:
        return status
    last = status.attempts[-1]
    known = (last.message or "").rstrip(".")
    said = message if message.startswith(known) else f"{known}; {message}"
    told = last.model_copy(update={"message": conditions.bounded(said)})
    return status.model_copy(update={"attempts": [*status.attempts[:-1], told]})


def seconds_to_retry(
    since: str | datetime | None, retries: int, delay: float, now: datetime
) -> float:
    """Seconds until the retry with this number, from 1, may begin; at most 0 if it may now."""
    if since is None or retries < 1:
        return 0.0
    ended = parse_time(since) if isinstance(since, str) else since
    return delay * 2.0 ** min(retries - 1, 5) - (now - ended).total_seconds()
