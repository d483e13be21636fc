"""The methods of training: their hyperparameters, the ranges, and what the service picks itself.

Pure tables. Must not know of models, jobs or JSON bodies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Any, Literal

Method = Literal["supervised", "dpo", "reinforcement"]
Value = int | float | str
Hyperparameters = Mapping[str, Value]

_AUTOMATIC = -1
"""How the wire shows what the service has not decided yet."""
COMMON = ("batch_size", "learning_rate_multiplier", "n_epochs")
"""What every method has, and what a job shows beside its method."""

_AUTO_EPOCHS = 3
_AUTO_BATCH_SHARE = 0.002
_MAXIMUM_BATCH = 256


class HyperparameterError(Exception):
    """A value out of its range.

    Attributes:
        name: Of the hyperparameter.
    """

    def __init__(self, name: str, wish: str) -> None:
        super().__init__(f"'{name}' must be {wish}.")
        self.name = name


@dataclass(frozen=True, kw_only=True)
class Reinforcement:
    """What only reinforcement training has."""

    grader: Mapping[str, Any]
    grader_names: tuple[str, ...]
    response_format: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class _Knob:
    """One hyperparameter."""

    wish: str
    """What it takes, in words."""
    read: Callable[[object], Value | None]
    """The value as it is kept; None for what it does not take."""
    automatic: Value | None = None
    """What the service picks, where that does not depend on model and rows."""
    unasked: Value | None = _AUTOMATIC
    """What is shown before the training when nobody asked; None: nothing, then or later."""


def _whole(low: int, high: float = inf, automatic: Value | None = None) -> _Knob:
    def read(value: object) -> Value | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if low <= value <= high else None

    wish = (
        f"a whole number, {low} or above"
        if high == inf
        else f"a whole number between {low} and {high}"
    )
    return _Knob(wish=wish, read=read, automatic=automatic)


def _number(
    low: float = 0,
    high: float = inf,
    *,
    from_low: bool = False,
    automatic: Value | None = None,
    unasked: Value | None = _AUTOMATIC,
) -> _Knob:
    def read(value: object) -> Value | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        fits = low < value <= high or (from_low and value == low)
        return float(value) if fits else None

    wish = f"{low:g} or above" if from_low else f"above {low:g}"
    if high != inf:
        wish += f" and at most {high:g}"
    return _Knob(wish=wish, read=read, automatic=automatic, unasked=unasked)


def _word(*words: str) -> _Knob:
    def read(value: object) -> Value | None:
        return value if isinstance(value, str) and value in words else None

    return _Knob(wish=f"one of {', '.join(words)}", read=read, automatic=words[0], unasked=words[0])


_OF_ALL = {
    "batch_size": _whole(1, _MAXIMUM_BATCH),
    "learning_rate_multiplier": _number(),
    "n_epochs": _whole(1, 50, automatic=_AUTO_EPOCHS),
}
_LOSS_WEIGHT = {"prompt_loss_weight": _number(0, 1, from_low=True, unasked=None)}
_KNOBS: Mapping[Method, Mapping[str, _Knob]] = MappingProxyType(
    {
        "supervised": {**_OF_ALL, **_LOSS_WEIGHT},
        "dpo": {
            **_OF_ALL,
            **_LOSS_WEIGHT,
            "beta": _number(0, 2, automatic=0.1),
            "l2_multiplier": _number(from_low=True, unasked=None),
        },
        "reinforcement": {
            **_OF_ALL,
            "reasoning_effort": _word("default", "low", "medium", "high"),
            "compute_multiplier": _number(1e-5, 10, automatic=1.0),
            "eval_interval": _whole(1, automatic=5),
            "eval_samples": _whole(1, automatic=1),
        },
    }
)


def read(method: Method, sent: Mapping[str, object]) -> dict[str, Value]:
    """What was asked for: without what is left to the service and what the method has not.

    Raises:
        HyperparameterError: A value is out of its range.
    """
    asked: dict[str, Value] = {}
    for name, knob in _KNOBS[method].items():
        if sent.get(name, "auto") in ("auto", None):
            continue
        value = knob.read(sent[name])
        if value is None:
            raise HyperparameterError(name, knob.wish)
        asked[name] = value
    return asked


def undecided(method: Method, asked: Hyperparameters) -> dict[str, Value]:
    """All that a job shows before its training."""
    shown = {name: asked.get(name, knob.unasked) for name, knob in _KNOBS[method].items()}
    return {name: value for name, value in shown.items() if value is not None}


def resolve(method: Method, asked: Hyperparameters, *, rate: float, rows: int) -> dict[str, Value]:
    """Fill in what was left to the service: about 0.2 % of the rows make a batch, 256 at most.

    `rate` is the model's own learning rate multiplier.
    """
    by_data: dict[str, Value] = {
        "batch_size": min(_MAXIMUM_BATCH, max(1, round(rows * _AUTO_BATCH_SHARE))),
        "learning_rate_multiplier": rate,
    }
    picked = {
        name: asked.get(name, by_data.get(name, knob.automatic))
        for name, knob in _KNOBS[method].items()
    }
    return {name: value for name, value in picked.items() if value is not None}
