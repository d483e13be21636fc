"""How the loss of a job would have gone: a formula of rows, epochs and learning rate.

Pure and deterministic: the same content, seed and hyperparameters give the same curve. Must not
know of time, status or JSON. The shape is what matters: more learning lowers both losses, many
passes over few rows turn the validation loss up, a tiny rate moves nothing.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from azure_openai.methods import Method

_STEPS_PER_TIME_CONSTANT = 80
_MEMORISED_IN_PASSES = 4
_MEMORISED_SHARE = 0.55
_OVERFIT_PER_PASS = 0.06  # at 100 rows; many rows are harder to learn by heart
_ACCURACY_DECAY = 0.42


@dataclass(frozen=True, kw_only=True)
class _Losses:
    """Where the losses of a method begin, and what they come down to."""

    start: float
    train_floor: float
    valid_floor: float


_LOSSES: Mapping[Method, _Losses] = MappingProxyType(
    {
        "supervised": _Losses(start=2.4, train_floor=0.85, valid_floor=0.95),
        # Two answers that are equally likely; a preference is learned further than a text.
        "dpo": _Losses(start=math.log(2), train_floor=0.12, valid_floor=0.22),
    }
)


@dataclass(frozen=True, kw_only=True)
class Course:
    """All that decides a training's curve."""

    method: Method
    rows: int
    epochs: int
    batch_size: int
    learning_rate_multiplier: float
    seed: int
    digest: str
    validated: bool
    eval_interval: int | None = None
    """Steps from one validation to the next in reinforcement training."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the rows; the last one may be a short batch."""
        return -(-self.rows // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.steps_per_epoch * self.epochs


def metrics(course: Course, step: int, *, full: bool) -> dict[str, float]:
    """The metrics of one step (1 is the first); `full` adds those over all validation rows."""
    train = train_loss(course, step)
    found = {"train_loss": train, "train_mean_token_accuracy": _accuracy(train)}
    if not course.validated:
        return found
    batch_loss = valid_loss(course, step) * (1 + 0.08 * noise(course, step, "valid"))
    found |= {"valid_loss": batch_loss, "valid_mean_token_accuracy": _accuracy(batch_loss)}
    if full:
        whole = valid_loss(course, step) * (1 + 0.004 * noise(course, step, "full_valid"))
        found |= {"full_valid_loss": whole, "full_valid_mean_token_accuracy": _accuracy(whole)}
    return found


def train_loss(course: Course, step: int) -> float:
    """Mean loss over the supervised tokens of this step's batch."""
    losses = _LOSSES[course.method]
    repeated = max(0.0, _passes(course, step) - 1) * grip(course)
    memorised = _MEMORISED_SHARE * (1 - math.exp(-repeated / _MEMORISED_IN_PASSES))
    floor = losses.train_floor * (1 - memorised)
    smooth = floor + (losses.start - floor) * math.exp(-dose(course, step))
    return smooth * (1 + _train_noise(course) * noise(course, step, "train"))


def valid_loss(course: Course, step: int) -> float:
    """Loss on unseen rows, without the noise of sampling them."""
    losses = _LOSSES[course.method]
    forgotten = math.exp(-dose(course, step))
    learned = losses.valid_floor + (losses.start - losses.valid_floor) * forgotten
    strength = _OVERFIT_PER_PASS * math.pow(100 / course.rows, 0.25)
    taken_in = grip(course) * (1 - forgotten)
    return learned + strength * taken_in * math.pow(harmful_passes(course, step), 1.3)


def harmful_passes(course: Course, step: int) -> float:
    """Passes beyond those that few rows bear before they are learned by heart."""
    return max(0.0, _passes(course, step) - 0.5 - math.log10(course.rows))


def _passes(course: Course, step: int) -> float:
    """How often every row was seen."""
    return step / course.steps_per_epoch


def dose(course: Course, step: int) -> float:
    """How much was learned so far, in time constants."""
    rate = course.learning_rate_multiplier * math.sqrt(course.batch_size)
    return rate * step / _STEPS_PER_TIME_CONSTANT


def grip(course: Course) -> float:
    """How strongly repeated rows are learned by heart: next to nothing at a tiny rate."""
    return 1 - math.exp(-3 * course.learning_rate_multiplier)


def _train_noise(course: Course) -> float:
    """Small batches and bold rates give a rougher curve; a rate near zero cannot move it."""
    return min(0.15, 0.06 * course.learning_rate_multiplier / math.sqrt(course.batch_size))


def _accuracy(loss: float) -> float:
    return math.exp(-_ACCURACY_DECAY * loss)


def noise(course: Course, step: int, series: str) -> float:
    """A number in [-1, 1) that only depends on content, seed, step and series."""
    text = f"{course.digest}/{course.seed}/{series}/{step}"
    drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return drawn / 2**63 - 1
