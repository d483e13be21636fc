"""Decides, once and before step 1, whatever the user left open; and says why.

Pure: facts in, values with reasons out. Must not look at files, hardware or a clock.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from finetune_api.constants import SEQUENCE_LENGTH
from finetune_api.pods import TrainerConfig
from finetune_api.spec import Packing, PeftType, TargetModules
from finetune_api.status import Resolved
from finetune_data.problems import sequence_too_long
from finetune_trainer.errors import bad_config
from finetune_trainer.hardware import Hardware

LEARNING_RATE = {PeftType.LORA: 2e-4, PeftType.NONE: 2e-5}
RANK = 16
BATCH = 8
EPOCHS = 3
CPU_TOKENS = 4096
"""Tokens per forward pass beyond which a CPU gains nothing."""
FIXED_BYTES = 1 << 30
"""Libraries, buffers and fragmentation."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the model's settings and weight files say."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    max_positions: int | None
    attention: str
    """How it attends to padded rows: sdpa, or eager where the model has nothing faster."""
    packable: bool
    """Rows that share a sequence come out as each does alone."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every value that training needs, and `resolved` for status."""

    learning_rate: float
    epochs: int
    max_steps: int | None
    total_steps: int
    batch_size: int
    micro_batch_size: int
    packing: bool
    bf16: bool
    recompute: bool
    """Activations are computed again in the backward pass, to save memory."""
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    lora_targets: TargetModules
    max_sequence_length: int
    seed: int
    resolved: dict[str, Resolved]


T = TypeVar("T", int, float, bool, str)


class _Ledger:
    """Collects values with their reasons, in the order in which people read them."""

    def __init__(self) -> None:
        self.entries: dict[str, Resolved] = {}

    def note(self, name: str, value: T, reason: str, shown: str | None = None) -> T:
        """Keep a value that was decided here."""
        text = f"{value:.10g}" if isinstance(value, float) else str(value)
        self.entries[name] = Resolved(value=shown or text, reason=reason)
        return value

    def given_or(self, name: str, given: T | None, default: T, reason: str) -> T:
        """Keep what the spec says, or else the default."""
        if given is None:
            return self.note(name, default, reason)
        return self.note(name, given, "set in spec")


def decide(
    config: TrainerConfig, model: ModelFacts, lengths: Sequence[int], hardware: Hardware
) -> Plan:
    """Make the plan for rows of these `lengths` (in tokens, not yet cut)."""
    ledger = _Ledger()
    sequence = _sequence(config, model, ledger)
    kept = [min(length, sequence) for length in lengths]
    batch = _batch(config, len(kept), ledger)
    epochs, max_steps, total = _duration(config, len(kept), batch, ledger)
    rate = _learning_rate(config, ledger)
    rank, alpha, dropout = _lora(config, ledger)
    targets = _lora_targets(config, ledger)
    packing = _packing(config, model, ledger)
    bf16 = _precision(config, hardware, ledger)
    _attention(packing, model, hardware, ledger)
    micro, recompute = _micro_batch(config, model, max(kept), batch, hardware, ledger)
    return Plan(
        learning_rate=rate,
        epochs=epochs,
        max_steps=max_steps,
        total_steps=total,
        batch_size=batch,
        micro_batch_size=micro,
        packing=packing,
        bf16=bf16,
        recompute=recompute,
        lora_rank=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        lora_targets=targets,
        max_sequence_length=sequence,
        seed=ledger.note("seed", config.seed, "set in spec, or 42"),
        resolved=ledger.entries,
    )


def as_before(
    config: TrainerConfig, hardware: Hardware, resolved: Mapping[str, Resolved]
) -> tuple[TrainerConfig, Hardware]:
    """The same facts with every open choice closed the way an earlier attempt decided it."""

    def value(name: str) -> str | None:
        return resolved[name].value if name in resolved else None

    def number(name: str) -> int | None:
        return int(resolved[name].value) if name in resolved else None

    lora = config.lora.model_copy(update={"rank": number("loraRank"), "alpha": number("loraAlpha")})
    closed = {
        "epochs": number("epochs"),
        "batch_size": number("batchSize"),
        "learning_rate": float(value("learningRate") or 0),
        "learning_rate_multiplier": None,
        "max_sequence_length": number("maxSequenceLength"),
        "micro_batch_size": number("microBatchSize"),
        # Auto: another device may lack the kernels, and padding computes the same.
        "packing": Packing.AUTO if value("packing") == "True" else Packing.NEVER,
        "lora": lora,
    }
    bf16 = value("computedIn") == "bfloat16"
    return config.model_copy(update=closed), replace(hardware, fast_bf16=bf16)


def _sequence(config: TrainerConfig, model: ModelFacts, ledger: _Ledger) -> int:
    limit, asked = model.max_positions, config.max_sequence_length
    if asked is not None and limit is not None and asked > limit:
        raise bad_config(sequence_too_long(asked, limit))
    if limit is not None and limit < SEQUENCE_LENGTH:
        return ledger.given_or("maxSequenceLength", asked, limit, "the model's own limit")
    return ledger.given_or("maxSequenceLength", asked, SEQUENCE_LENGTH, "default")


def _batch(config: TrainerConfig, examples: int, ledger: _Ledger) -> int:
    if config.batch_size is None and examples < BATCH:
        return ledger.note("batchSize", examples, "all examples: there are few")
    reason = "default: small enough that small data sets get many steps"
    return ledger.given_or("batchSize", config.batch_size, BATCH, reason)


def _duration(
    config: TrainerConfig, examples: int, batch: int, ledger: _Ledger
) -> tuple[int, int | None, int]:
    per_epoch = math.ceil(examples / batch)
    if config.max_steps is not None:
        ledger.note("maxSteps", config.max_steps, "set in spec")
        return math.ceil(config.max_steps / per_epoch), config.max_steps, config.max_steps
    reason = "default: a few passes, before memorising outweighs learning"
    epochs = ledger.given_or("epochs", config.epochs, EPOCHS, reason)
    total = ledger.note("totalSteps", epochs * per_epoch, f"epochs of {per_epoch} steps")
    return epochs, None, total


def _learning_rate(config: TrainerConfig, ledger: _Ledger) -> float:
    kind = "LoRA" if config.peft == PeftType.LORA else "full fine-tuning"
    default, multiplier = LEARNING_RATE[config.peft], config.learning_rate_multiplier
    reason = f"default for supervised {kind}"
    if multiplier is not None:
        # As many digits as `resolved` shows, so that a resumed run computes with the same number.
        rate = float(f"{default * multiplier:.10g}")
        return ledger.note("learningRate", rate, f"{multiplier:g} times {reason}")
    return ledger.given_or("learningRate", config.learning_rate, default, reason)


def _lora(config: TrainerConfig, ledger: _Ledger) -> tuple[int, int, float]:
    if config.peft == PeftType.NONE:
        return 0, 0, 0.0
    rank = ledger.given_or("loraRank", config.lora.rank, RANK, "default")
    alpha = ledger.given_or("loraAlpha", config.lora.alpha, 2 * rank, "twice the rank")
    dropout = ledger.given_or("loraDropout", config.lora.dropout, 0.0, "default")
    return rank, alpha, dropout


def _lora_targets(config: TrainerConfig, ledger: _Ledger) -> TargetModules:
    targets = TargetModules.ALL_LINEAR
    if config.peft == PeftType.LORA:
        name = "loraTargetModules"
        targets = TargetModules(
            ledger.given_or(name, config.lora.target_modules, targets, "default")
        )
    return targets


def _packing(config: TrainerConfig, model: ModelFacts, ledger: _Ledger) -> bool:
    if config.packing == Packing.ALWAYS and not model.packable:
        raise bad_config(
            "packing is Always, but in this model rows that share a sequence change each other: "
            "set it to Auto in a new FineTuneJob."
        )
    if config.packing != Packing.AUTO:
        return ledger.note("packing", config.packing == Packing.ALWAYS, "set in spec")
    leak = "in this model rows that share a sequence change each other"
    reason = "no padding is computed" if model.packable else leak
    return ledger.note("packing", model.packable, reason)


def _attention(packing: bool, model: ModelFacts, hardware: Hardware, ledger: _Ledger) -> None:
    if packing:
        kind = "varlen" if hardware.device == "cuda" else "segments"
        ledger.note("attention", kind, "each packed row attends to itself alone")
    else:
        ledger.note("attention", model.attention, "rows are padded, not packed")


def base_in_bf16(config: TrainerConfig, hardware: Hardware) -> bool:
    """Whether the base is held in bfloat16: only weights that are not trained may be."""
    return config.peft == PeftType.LORA and hardware.fast_bf16


def _precision(config: TrainerConfig, hardware: Hardware, ledger: _Ledger) -> bool:
    if not hardware.fast_bf16:
        ledger.note("dtype", "float32", f"{hardware.name}: bfloat16 is not fast")
    elif base_in_bf16(config, hardware):
        ledger.note("dtype", "bfloat16", "the base is frozen; adapters are float32")
    else:
        ledger.note("dtype", "float32", "weights are trained")
    kind = "bfloat16" if hardware.fast_bf16 else "float32"
    ledger.note("computedIn", kind, hardware.name)
    return hardware.fast_bf16


def _micro_batch(
    config: TrainerConfig,
    model: ModelFacts,
    longest: int,
    batch: int,
    hardware: Hardware,
    ledger: _Ledger,
) -> tuple[int, bool]:
    """Rows per forward pass, and whether even one of them needs recomputation."""
    tokens = _tokens_that_fit(config, model, hardware)
    rows = max(1, min(batch, tokens // longest))
    reason = f"{tokens} tokens fit in memory at once" if rows < batch else "the whole step fits"
    if hardware.device == "cpu" and tokens >= CPU_TOKENS:
        rows = max(1, min(batch, CPU_TOKENS // longest))
        reason = "more tokens at once gain nothing on a CPU" if rows < batch else reason
    asked = None if config.micro_batch_size is None else min(config.micro_batch_size, batch)
    rows = ledger.given_or("microBatchSize", asked, rows, reason)
    recompute = rows * longest > tokens
    if recompute:
        ledger.note("activationCheckpointing", True, "the activations would not fit in memory")
    return rows, recompute


def _tokens_that_fit(config: TrainerConfig, model: ModelFacts, hardware: Hardware) -> int:
    """Tokens whose activations fit beside weights, gradients and optimiser state."""
    full = config.peft == PeftType.NONE
    weights = model.parameters * (16 if full else 2 if hardware.fast_bf16 else 4)
    # Measured on SmolLM2 with LoRA: 2 MB a token, of which a fifth is the logits.
    width = 16 * model.hidden + 10 * model.intermediate
    each = model.layers * width * (2 if hardware.fast_bf16 else 4) + 10 * model.vocabulary
    return max(0, int(0.8 * (hardware.memory_bytes - weights - FIXED_BYTES) / each))
