"""What a job has to tell at a moment: its events, checkpoints and results.csv.

Pure: follows from the record, so that the same event keeps its id and time from request to
request. Must not know of HTTP or of the store.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from azure_openai import lifecycle, measurements
from azure_openai.lifecycle import Job

_STEPS_PER_METRICS_EVENT = 10
_CHECKPOINTS_KEPT = 3
_TOKENS_PER_BILLED_UNIT = 1000


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a job's log."""

    id: str
    at: float
    level: str
    message: str
    type: str = "message"
    data: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model saved on the way."""

    id: str
    at: float
    model: str
    step: int
    metrics: dict[str, float]


def model_name(job: Job) -> str:
    """The name of the result: `<base>.ft-<hex>[-<suffix>]`."""
    suffix = f"-{job.suffix}" if job.suffix else ""
    return f"{job.base_model}.ft-{job.hex}{suffix}"


def result_file_id(job: Job) -> str:
    """The id under which results.csv is found once the job has succeeded."""
    return f"file-{_hex(job, 'results')}"


def trained_tokens(job: Job) -> int:
    """Tokens of the training file, times epochs."""
    return job.tokens_per_epoch * job.course.epochs


def billed_tokens(job: Job) -> int:
    """What is paid for: text without its frame, in whole thousands."""
    total = job.billable_tokens_per_epoch * job.course.epochs
    return total // _TOKENS_PER_BILLED_UNIT * _TOKENS_PER_BILLED_UNIT


def events(job: Job, now: float) -> list[Event]:
    """All events up to `now`, newest first; of one moment, the later in the job's order first."""
    end = lifecycle.outcome(job, now)
    horizon = now if end is None else end.at
    told = [event for event in _opening(job) if event.at <= horizon]
    told += _step_events(job, now)
    told += [_extra(job, index) for index in range(len(job.extra_events))]
    told.sort(key=lambda event: event.at)
    if end is not None:
        told += _closing(job, end)
    return told[::-1]


def checkpoints(job: Job, now: float) -> list[Checkpoint]:
    """The newest three, newest first: one per epoch and one per pause."""
    done = lifecycle.steps_done(job, now)
    saved = sorted(step for step in _saved_steps(job) if step <= done)
    return [_checkpoint(job, step) for step in saved[: -_CHECKPOINTS_KEPT - 1 : -1]]


def results_csv(job: Job) -> bytes:
    """One row per step; cells without a measurement are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, measurements.columns(job.course.method), lineterminator="\n")
    writer.writeheader()
    for step in range(1, job.course.steps + 1):
        writer.writerow({"step": step, **measurements.measured(job.course, step)})
    return text.getvalue().encode()


def _opening(job: Job) -> Iterator[Event]:
    queued = "Job enqueued. Waiting for jobs ahead to complete."
    yield _message(job, "enqueued", job.created_at, queued)
    yield _message(job, "started", job.started_at, "Job started.")


def _closing(job: Job, end: lifecycle.Outcome) -> Iterator[Event]:
    if end.error is not None:
        yield _message(job, "failed", end.at, end.error.message, level="error")
    if end.status != "succeeded":
        return
    lines = [
        "Job succeeded.",
        "Model Evaluation Passed.",
        f"Completed results file: {result_file_id(job)}",
    ]
    if job.reinforcement is None:  # which is billed by the hour
        lines.append(f"Training tokens billed: {billed_tokens(job)}")
    for line in lines:
        yield _message(job, line, end.at, line)


def _step_events(job: Job, now: float) -> Iterator[Event]:
    """One per ten steps, and the last step's, so that a short job shows a loss too."""
    done = lifecycle.steps_done(job, now)
    steps = list(range(_STEPS_PER_METRICS_EVENT, done + 1, _STEPS_PER_METRICS_EVENT))
    if done == job.course.steps and done % _STEPS_PER_METRICS_EVENT:
        steps.append(done)
    names = () if job.reinforcement is None else job.reinforcement.grader_names
    for step in steps:
        told = measurements.told(job.course, step, names)
        yield Event(
            id=f"ftevent-{_hex(job, f'step {step}')}",
            at=lifecycle.step_moment(job, step),
            level="info",
            message=told.message,
            type="metrics",
            data=told.data,
        )


def _message(job: Job, key: str, at: float, text: str, level: str = "info") -> Event:
    return Event(id=f"ftevent-{_hex(job, key)}", at=at, level=level, message=text)


def _extra(job: Job, index: int) -> Event:
    extra = job.extra_events[index]
    return Event(
        id=extra.id,
        at=extra.at,
        level=extra.level,
        message=extra.message,
        type=extra.type,
        data=extra.data,
    )


def _saved_steps(job: Job) -> set[int]:
    course = job.course
    epoch_ends = range(course.steps_per_epoch, course.steps + 1, course.steps_per_epoch)
    return set(epoch_ends) | {_paused_step(job, pause) for pause in job.interruptions}


def _paused_step(job: Job, interruption: lifecycle.Interruption) -> int:
    return lifecycle.steps_done(job, interruption.paused_at)


def _checkpoint(job: Job, step: int) -> Checkpoint:
    last = step == job.course.steps
    name = model_name(job) if last else f"{model_name(job)}:ckpt-step-{step}"
    found = measurements.measured(job.course, step, full=True)
    return Checkpoint(
        id=f"ftchkpt-{_hex(job, f'checkpoint {step}')}",
        at=lifecycle.step_moment(job, step),
        model=name,
        step=step,
        metrics={"step": float(step), **found},
    )


def _hex(job: Job, key: str) -> str:
    return hashlib.sha256(f"{job.id}/{key}".encode()).hexdigest()[:32]
