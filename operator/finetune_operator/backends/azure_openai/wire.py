"""Reads what the service sends: absent keys, unknown statuses, `error: {}`, -1 for automatic.

Pure, and must not know how the bytes came here. Whatever is not as expected is left out, because
the service leaves keys out and adds values without notice; only a job without an id is refused.
"""

import base64
import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from finetune_operator.core.azure_names import number_as_text
from finetune_operator.core.observed import (
    Figures,
    RemoteCheckpoint,
    RemoteDetails,
    RemoteJob,
    StepFigures,
)

Json = Mapping[str, Any]
T = TypeVar("T")

_AUTOMATIC = -1
_LARGEST_RESULTS = 8 * 1024 * 1024
"""Characters: a hundred thousand steps."""
_COMMON = frozenset({"n_epochs", "batch_size", "learning_rate_multiplier"})
"""Hyperparameters that every method has."""
_TEXT_LIMIT = 253
_ERROR_LIMIT = 1024
_STEP = re.compile(r"Step (\d+)(?:/(\d+))?: training loss=([-+.\deE]+)")
_BILLED = re.compile(r"Training tokens billed: (\d+)")


class Unusable(ValueError):
    """An answer that says nothing, such as a job without an id."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a list, as it came."""

    items: Sequence[Json]
    has_more: bool
    """True if it is not said: to miss a job that exists would be costly."""


def page(body: Any) -> Page:
    """A list's envelope; Unusable if it is none."""
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, list):
        raise Unusable("not a list")
    items = [item for item in data if isinstance(item, Mapping)]
    return Page(items=items, has_more=bool(body.get("has_more", True)))


def job(body: Any, *, seen_at: datetime) -> RemoteJob:
    """A hosted job; one without a time of creation counts as created when it was seen."""
    if not isinstance(body, Mapping) or not _text(body.get("id")):
        raise Unusable("not a job")
    error = body.get("error")
    error = error if isinstance(error, Mapping) else {}
    return RemoteJob(
        id=body["id"],
        raw_status=_text(body.get("status")) or "",
        created_at=_time(body.get("created_at")) or seen_at,
        model=_text(body.get("model")) or "",
        suffix=_text(body.get("suffix")),
        training_file=_text(body.get("training_file")),
        fine_tuned_model=_text(body.get("fine_tuned_model"), _ERROR_LIMIT),
        estimated_finish=_time(body.get("estimated_finish")),
        trained_tokens=_count(body.get("trained_tokens")),
        result_files=_texts(body.get("result_files")),
        error_code=_text(error.get("code")),
        error_message=_text(error.get("message"), _ERROR_LIMIT),
        seed=_count(body.get("seed")),
        hyperparameters=_hyperparameters(body),
    )


def jobs(items: Sequence[Json], *, seen_at: datetime) -> tuple[RemoteJob, ...]:
    """The jobs of a page, in its order, without what is no job."""
    return tuple(job(item, seen_at=seen_at) for item in items if _text(item.get("id")))


def details(events: Sequence[Json], checkpoints: Sequence[Json]) -> RemoteDetails:
    """What one page of events (newest first) and the checkpoints say."""
    readings = [reading for event in events if (reading := _reading(event)) is not None]
    messages = [text for event in events if (text := _text(event.get("message"), _ERROR_LIMIT))]
    billed = (found for text in messages if (found := _BILLED.search(text)))
    newest = readings[0] if readings else _Reading()
    return RemoteDetails(
        step=newest.step,
        total_steps=newest.total_steps,
        figures=_newest(readings),
        billed_tokens=next((int(found[1]) for found in billed), None),
        error=next((_text(e.get("message"), _ERROR_LIMIT) for e in events if _is_error(e)), None),
        checkpoints=_checkpoints(checkpoints),
    )


def results(text: str) -> tuple[StepFigures, ...]:
    """The rows of a result file, by the names in its head; in base64 too, as it once came."""
    if len(text) > _LARGEST_RESULTS:
        raise Unusable("too large a result file")
    if "," not in text:
        text = base64.b64decode("".join(text.split()), validate=True).decode()
    rows = csv.DictReader(io.StringIO(text, newline=None))
    try:
        read = ((_count(row.get("step")), row) for row in rows)
        return tuple(
            StepFigures(step=step, figures=_figures(row)) for step, row in read if step is not None
        )
    except csv.Error:
        raise Unusable("not a table") from None


def _figures(row: Json) -> Figures:
    """Of a batch the validation loss is noise: that over the whole set alone counts."""
    return Figures(
        train_loss=_number(row.get("train_loss")),
        validation_loss=_number(row.get("full_valid_loss")),
        train_reward=_reward(row, "train"),
        validation_reward=_reward(row, "valid"),
    )


def updated(old: RemoteDetails, new: RemoteDetails) -> RemoteDetails:
    """`new`, with what only older pages said."""
    return RemoteDetails(
        step=_first(new.step, old.step),
        total_steps=_first(new.total_steps, old.total_steps),
        figures=Figures(
            train_loss=_first(new.figures.train_loss, old.figures.train_loss),
            validation_loss=_first(new.figures.validation_loss, old.figures.validation_loss),
            train_reward=_first(new.figures.train_reward, old.figures.train_reward),
            validation_reward=_first(new.figures.validation_reward, old.figures.validation_reward),
        ),
        billed_tokens=_first(new.billed_tokens, old.billed_tokens),
        error=_first(new.error, old.error),
        checkpoints=new.checkpoints or old.checkpoints,
    )


def _first(new: T | None, old: T | None) -> T | None:
    return old if new is None else new


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """One metrics event."""

    step: int | None = None
    total_steps: int | None = None
    train_loss: float | None = None
    valid_loss: float | None = None
    full_valid_loss: float | None = None
    train_reward: float | None = None
    valid_reward: float | None = None


def _is_error(event: Json) -> bool:
    return event.get("level") == "error"


def _reading(event: Json) -> _Reading | None:
    """The figures of an event, from its data or else from its sentence."""
    data = event.get("data")
    data = data if isinstance(data, Mapping) else {}
    said = _STEP.search(_text(event.get("message"), _ERROR_LIMIT) or "")
    step = _count(data.get("step"))
    if step is None and said is None:
        return None
    return _Reading(
        step=step if step is not None or said is None else int(said[1]),
        total_steps=int(said[2]) if said and said[2] else None,
        train_loss=_number(data.get("train_loss")) or (_number(said[3]) if said else None),
        valid_loss=_number(data.get("valid_loss")),
        full_valid_loss=_number(data.get("full_valid_loss")),
        train_reward=_reward(data, "train"),
        valid_reward=_reward(data, "valid"),
    )


def _reward(data: Json, of: str) -> float | None:
    """A mean reward by one of the names that it has had: in `scores`, or as in the result file."""
    scores = data.get("scores")
    named = [scores.get(f"{of}_reward_mean")] if isinstance(scores, Mapping) else []
    named += [data.get(f"{of}_reward_mean"), data.get(f"full_{of}_mean_reward")]
    named += [data.get(f"{of}_mean_reward")]
    return next((number for value in named if (number := _number(value)) is not None), None)


def _newest(readings: Sequence[_Reading]) -> Figures:
    """The newest of each figure; of a batch only where nothing says it of the whole set."""

    def first(name: str) -> float | None:
        found = (getattr(reading, name) for reading in readings)
        return next((number for number in found if number is not None), None)

    whole = first("full_valid_loss")
    return Figures(
        train_loss=readings[0].train_loss if readings else None,
        validation_loss=first("valid_loss") if whole is None else whole,
        train_reward=first("train_reward"),
        validation_reward=first("valid_reward"),
    )


def _checkpoints(items: Sequence[Json]) -> tuple[RemoteCheckpoint, ...]:
    """Newest first."""
    read = [found for item in items if (found := _checkpoint(item)) is not None]
    return tuple(sorted(read, key=lambda checkpoint: checkpoint.step, reverse=True))


def _checkpoint(item: Json) -> RemoteCheckpoint | None:
    name, step = _text(item.get("fine_tuned_model_checkpoint")), _count(item.get("step_number"))
    if name is None or step is None:
        return None
    metrics = item.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    full = _number(metrics.get("full_valid_loss"))
    return RemoteCheckpoint(
        name=name,
        step=step,
        figures=Figures(
            train_loss=_number(metrics.get("train_loss")),
            validation_loss=_number(metrics.get("valid_loss")) if full is None else full,
            train_reward=_reward(metrics, "train"),
            validation_reward=_reward(metrics, "valid"),
        ),
    )


def _hyperparameters(body: Json) -> dict[str, str]:
    """What the service decided or was told; -1 and auto mean that it has not decided yet."""
    common = body.get("hyperparameters")
    echoed = _of_the_method(body.get("method"))
    if isinstance(common, Mapping):
        echoed |= common
    told = {str(key): _value(value) for key, value in echoed.items()}
    return {key: value for key, value in told.items() if value is not None}


def _of_the_method(method: Any) -> dict[str, Any]:
    """Its own alone: of the common ones the method repeats what was asked for."""
    settings = method.get(method.get("type")) if isinstance(method, Mapping) else None
    asked = settings.get("hyperparameters") if isinstance(settings, Mapping) else None
    if not isinstance(asked, Mapping):
        return {}
    return {key: value for key, value in asked.items() if key not in _COMMON}


def _value(value: Any) -> str | None:
    number = _number(value)
    if number is not None:
        return None if number == _AUTOMATIC else number_as_text(number)
    return None if value == "auto" else _text(value)


def _text(value: Any, limit: int = _TEXT_LIMIT) -> str | None:
    return value[:limit] if isinstance(value, str) and value else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text for item in value if (text := _text(item))) if isinstance(value, list) else ()


def _number(value: Any) -> float | None:
    """A finite number; bool is none, and figures sometimes come as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number >= 0 else None


def _time(value: Any) -> datetime | None:
    """Seconds since the epoch on the wire, a date-time in the published schema."""
    number = _number(value)
    try:
        if number is not None:
            return datetime.fromtimestamp(number, UTC) if number > 0 else None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
