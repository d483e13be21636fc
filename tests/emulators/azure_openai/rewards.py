"""How the rewards of reinforcement training would have gone: a formula like that of losses.

Pure and deterministic. Must not know of time, status or JSON, nor of the grader: rewards go from 0
to 1. More learning raises both rewards and makes answers longer; many passes over few rows let
the validation reward fall again.
"""

import math
from dataclasses import dataclass

from azure_openai.learning import Course, dose, grip, harmful_passes, noise

_LOWEST_START = 0.15
_START_SPREAD = 0.2
_BEST = 0.92
_OVERFIT_PER_PASS = 0.02
_FIRST_TOKENS = 400.0
_LEARNED_TOKENS = 500.0
_REASONING_SHARE = 0.7
_UNREADABLE_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """What one step's samples gave; `valid` is None where nothing was validated."""

    train: float
    valid: float | None
    completion_tokens: float
    reasoning_tokens: float
    unreadable: int


def rewards(course: Course, step: int, *, validated: bool | None = None) -> Rewards:
    """The rewards of one step; 1 is the first.

    `validated`: whether validation rows were sampled; None: as the step would have it by itself.
    """
    validated = is_validated(course, step) if validated is None else validated
    tokens = _FIRST_TOKENS + _LEARNED_TOKENS * _learned(course, step)
    tokens *= 1 + 0.05 * noise(course, step, "tokens")
    return Rewards(
        train=_within(train_reward(course, step) * (1 + 0.08 * noise(course, step, "train"))),
        valid=_within(valid_reward(course, step)) if validated else None,
        completion_tokens=tokens,
        reasoning_tokens=_REASONING_SHARE * tokens,
        unreadable=round(course.batch_size * _UNREADABLE_SHARE * (1 - _learned(course, step))),
    )


def is_validated(course: Course, step: int) -> bool:
    """Whether the validation rows are sampled: at the interval, and where an epoch ends."""
    interval = course.eval_interval or course.steps_per_epoch
    return step % interval == 0 or step % course.steps_per_epoch == 0


def train_reward(course: Course, step: int) -> float:
    """Mean reward of samples for rows that are trained on, without the noise of sampling."""
    start = _LOWEST_START + _START_SPREAD * (1 + noise(course, 0, "start")) / 2
    return start + (_BEST - start) * _learned(course, step)


def valid_reward(course: Course, step: int) -> float:
    """Mean reward of samples for unseen rows."""
    lost = _OVERFIT_PER_PASS * grip(course) * harmful_passes(course, step)
    return 0.95 * train_reward(course, step) - lost


def _learned(course: Course, step: int) -> float:
    return 1 - math.exp(-dose(course, step))


def _within(reward: float) -> float:
    return min(1.0, max(0.0, reward))
