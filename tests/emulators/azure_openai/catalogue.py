"""What this account can train: base models with their methods and training types, and aliases.

Pure tables. Must not know of jobs in progress. The real table moves monthly; this one holds the
text models of October 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from azure_openai.methods import Method

NO_FINE_TUNING = "The specified base model does not support fine-tuning."
"""Whatever the reason: an unknown model, a method that it does not have."""

_TRAINING_TYPES = MappingProxyType(
    {name.lower(): name for name in ("standard", "globalStandard", "developerTier")}
)
_STANDARD = "standard"
_OPEN_TYPES = frozenset({"globalStandard"})
_ALL_TYPES = frozenset(_TRAINING_TYPES.values())


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """How a base model can be trained."""

    methods: frozenset[Method]
    training_types: frozenset[str] = _ALL_TYPES
    continuable: bool = True
    """Whether its results can be trained further."""
    automatic_rate: float = 1.0
    """The learning rate multiplier that the service picks."""


_TEXT = Trainable(methods=frozenset({"supervised", "dpo"}))
_REASONING = Trainable(methods=frozenset({"reinforcement"}))
_OPEN = Trainable(methods=frozenset({"supervised"}), training_types=_OPEN_TYPES, continuable=False)
_MODELS: Mapping[str, Trainable] = MappingProxyType(
    {
        "gpt-4.1-2025-04-14": replace(_TEXT, automatic_rate=2.0),
        "gpt-4.1-mini-2025-04-14": _TEXT,
        "gpt-4.1-nano-2025-04-14": _TEXT,
        "gpt-4o-2024-08-06": _TEXT,
        "gpt-4o-mini-2024-07-18": Trainable(methods=frozenset({"supervised"})),
        "o4-mini-2025-04-16": _REASONING,
        "gpt-5-2025-08-07": Trainable(
            methods=frozenset({"reinforcement"}),
            training_types=frozenset({"standard", "globalStandard"}),
        ),
        "gpt-oss-20b": _OPEN,
        "gpt-oss-120b": Trainable(
            methods=frozenset({"supervised", "reinforcement"}),
            training_types=frozenset({"globalStandard", "developerTier"}),
            continuable=False,
        ),
        "Ministral-3B": _OPEN,
        "Llama-3.3-70B-Instruct": _OPEN,
        "Qwen3-32B": _OPEN,
    }
)
_ALIASES = MappingProxyType(
    {
        "gpt-4.1": "gpt-4.1-2025-04-14",
        "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
        "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
        "gpt-4o": "gpt-4o-2024-08-06",
        "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
        "o4-mini": "o4-mini-2025-04-16",
        "gpt-5": "gpt-5-2025-08-07",
    }
)
_JUDGES = MappingProxyType({"gpt-4o": "gpt-4o-2024-08-06", "o3-mini": "o3-mini-2025-01-31"})


def judges(name: str) -> bool:
    """Whether a model can grade."""
    return judge_name(name) in _JUDGES.values()


def judge_name(name: str) -> str:
    """The full name of a model that grades."""
    return _JUDGES.get(name, name)


def dated_name(name: str) -> str:
    """The full name behind an alias; any other name as it is."""
    return _ALIASES.get(name, name)


def trainable(name: str) -> Trainable | None:
    """How the base model of this full name can be trained, or None if it cannot."""
    return _MODELS.get(name)


def training_type(name: str) -> str | None:
    """The spelling that the service echoes, or None for an unknown type."""
    return _TRAINING_TYPES.get(name.lower())


def refusal(model: Trainable, method: Method, type_: str | None) -> str | None:
    """The service's sentence about what a model cannot be trained with."""
    if method not in model.methods:
        return NO_FINE_TUNING
    wanted = type_ or _STANDARD
    if wanted not in model.training_types:
        shown = wanted[0].upper() + wanted[1:]
        return f"The specified base model does not support fine-tuning with {shown} TrainingType."
    return None
