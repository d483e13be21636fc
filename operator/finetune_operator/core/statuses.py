"""Status as JSON: what to send, what matters at once, and what an error makes of it.

Pure. A merge patch sends null for what is gone and nothing for what is unchanged.
"""

import re
from datetime import datetime
from typing import Any

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase
from finetune_api.status import FineTuneJobStatus
from finetune_operator.core import attempts, conditions
from finetune_operator.core.conditions import parse_time
from finetune_operator.core.errors import OperatorError, Terminal, Transient

Json = dict[str, Any]

_FIGURES = re.compile(r"[0-9]+")


def as_json(status: FineTuneJobStatus) -> Json:
    """The status as the API server keeps it: no nulls."""
    dumped: Json = status.model_dump(mode="json", exclude_none=True)
    return dumped


def difference(old: Json, new: Json) -> Json:
    """The merge patch that turns old into new; empty if they are equal."""
    patch: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := difference(before, value):
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


def _without_progress(status: FineTuneJobStatus) -> FineTuneJobStatus:
    """What is left when only the figures of a running job are taken away."""
    quiet = [condition.model_copy(update={"message": ""}) for condition in status.conditions]
    attempts = [attempt.model_copy(update={"step": None}) for attempt in status.attempts or ()]
    kubernetes = status.kubernetes
    if kubernetes is not None:
        kubernetes = kubernetes.model_copy(update={"checkpoint": None})
    return status.model_copy(
        update={
            "progress": None,
            "message": None,
            "metrics": None,
            "conditions": quiet,
            "attempts": attempts,
            "kubernetes": kubernetes,
        }
    )


def wait_before_writing(
    old: FineTuneJobStatus, new: FineTuneJobStatus, now: datetime, interval: float
) -> float:
    """Seconds until this may be written: 0 unless only the figures of a running job moved."""
    written = old.progress.updated_at if old.progress else None
    if written is None or _without_progress(old) != _without_progress(new):
        return 0.0
    return max(0.0, interval - (now - parse_time(written)).total_seconds())


def with_error(
    job: FineTuneJob, error: OperatorError, *, now: datetime, lasts: float, stalled_after: float
) -> FineTuneJobStatus:
    """The status of a job whose next step failed; `lasts` is for how many seconds by now."""
    paused, phase = _is_paused(job), job.status.phase or Phase.PENDING
    if phase is Phase.SUSPENDED and not paused:
        phase = Phase.PENDING
    message = _words(job.status, error)
    if isinstance(error, Terminal):
        summary = conditions.failed(error.reason, message)
    elif isinstance(error, Transient) and error.waits_for_user and lasts >= stalled_after:
        summary = conditions.waiting_for_user(phase, error.reason, message)
    else:
        summary = conditions.working(phase, error.reason, message)
    told = conditions.summarise(
        job.status,
        conditions.keep_suspended(job.status, summary) if paused else summary,
        meta=job.metadata,
        now=now,
    )
    if not isinstance(error, Terminal):
        return told
    ended = attempts.end(told, now, error.reason, error.message)
    return ended.model_copy(update={"completion_time": conditions.timestamp(now)})


def _is_paused(job: FineTuneJob) -> bool:
    """Whether a pause that status tells of still counts: asked for, or of something to resume."""
    status, part = job.status, job.status.azure_open_ai
    unsent = job.spec.azure_open_ai is not None and (part is None or part.job_id is None)
    return job.spec.suspend or not (unsent or attempts.is_over(status))


def _words(status: FineTuneJobStatus, error: OperatorError) -> str:
    """What is told of the error: as it was told before, if only figures in it have moved.

    A service that asks for fewer requests says each time for how many seconds.
    """
    before = conditions.get(status, ConditionType.READY)
    if before is None or _FIGURES.sub("", before.message) != _FIGURES.sub("", error.message):
        return error.message
    return before.message
