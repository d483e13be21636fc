"""The life of a job as a function of its record and the time: nothing ticks, nothing is stored.

Pure: state in, moment in, answer or new record out. Must not know of HTTP, of files or of what a
step's loss is. All times are Unix seconds of service time, all durations service seconds.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from azure_openai.learning import Course
from azure_openai.methods import Hyperparameters, Reinforcement

Stage = Literal["Validation", "Evaluation"]
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class UnexpectedStateError(Exception):
    """The job's state does not allow what was asked."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long each part of a life takes."""

    queue_seconds: float
    step_seconds: float
    silent_seconds: float
    pausing_seconds: float
    resuming_seconds: float


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job failed, as its `error` says it."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """One pause; `resumed_at` is None while nobody has asked to go on."""

    paused_at: float
    resumed_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How and when a job ended."""

    status: str
    at: float
    error: JobError | None = None


@dataclass(frozen=True, kw_only=True)
class Fate:
    """A failure that is already decided and shows when the job reaches `stage`."""

    stage: Stage
    error: JobError


@dataclass(frozen=True, kw_only=True)
class ExtraEvent:
    """An event that a test wants to see in the job's list."""

    id: str
    at: float
    type: str
    level: str
    message: str
    data: dict[str, object] | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that is known of a job; whatever is not here follows from it and the time."""

    id: str
    serial: int
    created_at: float
    listed_from: float  # real monotonic seconds: slow lists are measured by the client's clock
    model: str
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    training_type: str | None
    asked: Hyperparameters
    resolved: Hyperparameters
    method_sent: bool
    reinforcement: Reinforcement | None
    course: Course
    tokens_per_epoch: int
    billable_tokens_per_epoch: int
    pace: Pace
    slot_at: float | None = None  # None: it waits until fewer jobs run
    interruptions: tuple[Interruption, ...] = ()
    ended: Outcome | None = None
    fate: Fate | None = None
    shown_status: str | None = None
    extra_events: tuple[ExtraEvent, ...] = ()

    @property
    def hex(self) -> str:
        """The id without its prefix, as model names carry it."""
        return self.id.removeprefix("ftjob-")

    @property
    def base_model(self) -> str:
        """What all training began with, also where `model` is an earlier result."""
        return self.model.partition(".ft-")[0]

    @property
    def started_at(self) -> float:
        """When it leaves the queue; infinity while that is open."""
        return math.inf if self.slot_at is None else self.slot_at

    @property
    def is_developer(self) -> bool:
        """Whether it runs at the developer tier."""
        return self.training_type == "developerTier"

    @property
    def training_seconds(self) -> float:
        """Time spent on steps, without pauses."""
        return self.course.steps * self.pace.step_seconds


def moment_of(job: Job, active: float) -> float:
    """When the job has been active for `active` seconds; infinity behind an open pause."""
    moment = job.started_at + active
    for interruption in job.interruptions:
        if interruption.paused_at >= moment:
            break
        moment += _length(job, interruption)
    return moment


def outcome(job: Job, now: float) -> Outcome | None:
    """How the job has ended by `now`, or None while it has not."""
    end = job.ended or _planned_end(job)
    return end if end.at <= now else None


def end_moment(job: Job) -> float:
    """When it ends unless something happens; infinity behind an open pause."""
    return (job.ended or _planned_end(job)).at


def admitted(job: Job, moment: float) -> Job:
    """The job with its turn in the queue decided."""
    return replace(job, slot_at=moment)


def status(job: Job, now: float) -> str:
    """The wire status, before a test's own status is put over it."""
    end = outcome(job, now)
    if end is not None:
        return end.status
    if now < job.started_at:
        return "pending"
    if not job.interruptions:
        return "running"
    return _status_around(job, job.interruptions[-1], now)


def steps_done(job: Job, now: float) -> int:
    """Optimiser steps finished by `now`, or by the job's end if that was earlier."""
    end = outcome(job, now)
    active = _active_seconds(job, now if end is None else end.at)
    return min(job.course.steps, math.floor(active / job.pace.step_seconds + 1e-9))


def step_moment(job: Job, step: int) -> float:
    """When `step` was or will be done."""
    return moment_of(job, step * job.pace.step_seconds)


def cancel(job: Job, now: float) -> Job:
    """End the job on request."""
    _require(job, now, {"pending", "running", "pausing", "paused", "resuming"}, "cancelled")
    return replace(job, ended=Outcome(status="cancelled", at=now))


def fail(job: Job, now: float, error: JobError) -> Job:
    """End the job with an error, whatever it is doing."""
    _require(job, now, {"pending", "running", "pausing", "paused", "resuming"}, "failed")
    return replace(job, ended=Outcome(status="failed", at=now, error=error))


def pause(job: Job, now: float) -> Job:
    """Interrupt a training that has at least one step and has steps left."""
    _require(job, now, {"running"}, "paused")
    if not 1 <= steps_done(job, now) < job.course.steps:
        raise UnexpectedStateError("A job can be paused after its first and before its last step.")
    return replace(job, interruptions=(*job.interruptions, Interruption(paused_at=now)))


def resume(job: Job, now: float) -> Job:
    """Go on after a pause that is complete."""
    _require(job, now, {"paused"}, "resumed")
    *earlier, last = job.interruptions
    return replace(job, interruptions=(*earlier, replace(last, resumed_at=now)))


def _require(job: Job, now: float, allowed: set[str], wish: str) -> None:
    found = status(job, now)
    if found not in allowed:
        raise UnexpectedStateError(f"The job is {found} and cannot be {wish}.")


def _planned_end(job: Job) -> Outcome:
    if job.fate is not None and job.fate.stage == "Validation":
        return Outcome(status="failed", at=job.started_at, error=job.fate.error)
    at = moment_of(job, job.training_seconds + job.pace.silent_seconds)
    if job.fate is not None:
        return Outcome(status="failed", at=at, error=job.fate.error)
    return Outcome(status="succeeded", at=at)


def _status_around(job: Job, interruption: Interruption, now: float) -> str:
    if interruption.resumed_at is None:
        paused = now >= interruption.paused_at + job.pace.pausing_seconds
        return "paused" if paused else "pausing"
    resumed = now >= interruption.resumed_at + job.pace.resuming_seconds
    return "running" if resumed else "resuming"


def _active_seconds(job: Job, now: float) -> float:
    idle = 0.0
    for interruption in job.interruptions:
        idle += max(0.0, min(now - interruption.paused_at, _length(job, interruption)))
    return max(0.0, now - job.started_at - idle)


def _length(job: Job, interruption: Interruption) -> float:
    if interruption.resumed_at is None:
        return math.inf
    return interruption.resumed_at + job.pace.resuming_seconds - interruption.paused_at
