"""Whether a model was trained too much or too little, from its losses or rewards step by step.

Pure. Both are hints: they change no outcome. What is too short to be judged is left alone.
"""

from collections.abc import Callable, Sequence

from finetune_api.reasons import ConditionType, Reason
from finetune_api.status import ResultCheckpoint
from finetune_operator.core.conditions import FALSE, TRUE, Fact
from finetune_operator.core.observed import Figures, StepFigures

_TOO_HIGH = 1.05
"""Of the lowest validation loss: what is above it is no noise."""
_EVALUATIONS = 3
"""So many evaluations in a row, at the end, must be too high."""
_FELL = 0.98
"""A training loss that is above this part of what it was in the beginning has not fallen."""
_MEAN_OF = 10
"""A tenth of the steps at either end is averaged: a single batch says little."""
_LEAST_STEPS = 20


def facts(
    steps: Sequence[StepFigures], checkpoints: Sequence[ResultCheckpoint]
) -> tuple[Fact, ...]:
    """What conditions say, as far as there is enough to judge by."""
    return tuple(
        fact
        for fact in (_overfitting(steps, checkpoints), _underfitting(steps))
        if fact is not None
    )


def final(steps: Sequence[StepFigures]) -> Figures:
    """The last of each figure."""

    def last(read: Callable[[Figures], float | None]) -> float | None:
        found = (read(step.figures) for step in reversed(steps))
        return next((value for value in found if value is not None), None)

    return Figures(
        train_loss=last(lambda figures: figures.train_loss),
        validation_loss=last(lambda figures: figures.validation_loss),
        train_reward=last(lambda figures: figures.train_reward),
        validation_reward=last(lambda figures: figures.validation_reward),
    )


def _series(
    steps: Sequence[StepFigures], read: Callable[[Figures], float | None]
) -> list[tuple[int, float]]:
    return [(step.step, value) for step in steps if (value := read(step.figures)) is not None]


def _overfitting(
    steps: Sequence[StepFigures], checkpoints: Sequence[ResultCheckpoint]
) -> Fact | None:
    losses = _series(steps, lambda figures: figures.validation_loss)
    if len(losses) <= _EVALUATIONS:
        return None
    best_step, lowest = min(losses, key=lambda point: point[1])
    if any(loss <= _TOO_HIGH * lowest for _, loss in losses[-_EVALUATIONS:]):
        return _fact(ConditionType.OVERFITTING, None, "The validation loss ended near its lowest")
    kept = {point.step: point.name for point in checkpoints}
    advice = (
        f"use its checkpoint {kept[best_step]}, or train for fewer epochs"
        if best_step in kept
        else "train for fewer epochs"
    )
    return _fact(
        ConditionType.OVERFITTING,
        Reason.VALIDATION_LOSS_ROSE,
        f"The validation loss was lowest at step {best_step} ({lowest:.4g}) and ended at"
        f" {losses[-1][1]:.4g}: {advice}",
    )


def _underfitting(steps: Sequence[StepFigures]) -> Fact | None:
    rewards = _series(steps, lambda figures: figures.validation_reward)
    if len(rewards) > 1:
        return _stayed(rewards[0][1], rewards[-1][1])
    losses = [loss for _, loss in _series(steps, lambda figures: figures.train_loss)]
    if len(losses) < _LEAST_STEPS:
        return None
    part = len(losses) // _MEAN_OF
    first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
    if last <= _FELL * first:
        return _fact(
            ConditionType.UNDERFITTING,
            None,
            f"The training loss fell from {first:.4g} to {last:.4g}",
        )
    return _fact(
        ConditionType.UNDERFITTING,
        Reason.TRAINING_LOSS_STAYED,
        f"The training loss was {first:.4g} in the beginning and {last:.4g} in the end: train for"
        " more epochs or with a higher learning rate, and see that the data says one thing",
    )


def _stayed(first: float, last: float) -> Fact:
    if last > first:
        message = f"The validation reward rose from {first:.4g} to {last:.4g}"
        return _fact(ConditionType.UNDERFITTING, None, message)
    return _fact(
        ConditionType.UNDERFITTING,
        Reason.REWARD_STAYED,
        f"The validation reward was {first:.4g} in the beginning and {last:.4g} in the end: see"
        " whether the grader tells good answers from bad ones, and train for more epochs",
    )


def _fact(kind: ConditionType, found: Reason | None, message: str) -> Fact:
    status = FALSE if found is None else TRUE
    return Fact(type=kind, status=status, reason=found or Reason.FITS_WELL, message=message)
