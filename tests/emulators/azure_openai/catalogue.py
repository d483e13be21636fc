"""What this account can train: base models, their aliases, training types, automatic values.

Pure tables. Must not know of jobs in progress. The real table moves monthly; this one holds what
tests and demos need.
"""

from dataclasses import dataclass

_SUPERVISED_MODELS = (
    "gpt-4.1-2025-04-14",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano-2025-04-14",
    "gpt-4o-2024-08-06",
    "gpt-4o-mini-2024-07-18",
    "gpt-oss-20b",
    "Ministral-3B",
    "Llama-3.3-70B-Instruct",
    "Qwen3-32B",
)
_ALIASES = {
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
}
_TRAINING_TYPES = {name.lower(): name for name in ("standard", "globalStandard", "developerTier")}

_AUTO_EPOCHS = 3
_AUTO_BATCH_SHARE = 0.002
_MAXIMUM_BATCH = 256
_AUTO_RATES = {"gpt-4.1-2025-04-14": 2.0}
_AUTO_RATE = 1.0


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The three of supervised training; None means that the service decides."""

    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None


@dataclass(frozen=True, kw_only=True)
class ResolvedHyperparameters:
    """What the service trains with."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


def base_model(name: str) -> str | None:
    """The dated name behind `name`, or None for a model that cannot be fine-tuned."""
    dated = _ALIASES.get(name, name)
    return dated if dated in _SUPERVISED_MODELS else None


def training_type(name: str) -> str | None:
    """The spelling that the service echoes, or None for an unknown type."""
    return _TRAINING_TYPES.get(name.lower())


def resolve(asked: Hyperparameters, *, model: str, rows: int) -> ResolvedHyperparameters:
    """Fill in what was left to the service: about 0.2 % of the rows make a batch, 256 at most."""
    auto_batch = min(_MAXIMUM_BATCH, max(1, round(rows * _AUTO_BATCH_SHARE)))
    return ResolvedHyperparameters(
        n_epochs=asked.n_epochs or _AUTO_EPOCHS,
        batch_size=asked.batch_size or auto_batch,
        learning_rate_multiplier=asked.learning_rate_multiplier
        or _AUTO_RATES.get(model, _AUTO_RATE),
    )
