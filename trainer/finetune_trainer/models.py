"""Opens a model's folder: tokenizer, weights, and facts about them.

Knows transformers; must not know of training or rows.
"""

from pathlib import Path
from typing import Any

from finetune_trainer.decisions import ModelFacts
from finetune_trainer.errors import TrainerError, bad_config


def tokenizer(folder: Path) -> Any:
    """The model's tokenizer, with a padding token."""
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise bad_config(f"The model's tokenizer cannot be read: {first_line(error)}") from error
    if found.pad_token_id is None:
        found.pad_token = found.eos_token
    return found


def load(folder: Path, *, bf16: bool, attention: str | None = None) -> Any:
    """The model with its weights in bfloat16 or float32, on the CPU.

    `attention` absent: sdpa, or eager where the model has nothing faster.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if bf16 else torch.float32
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention
        )
    except (OSError, ValueError) as error:
        raise _unusable(error) from error


def facts(model: Any, *, packable: bool) -> ModelFacts:
    """What decisions depend on, of a loaded model."""
    config = model.config.get_text_config()
    try:
        return ModelFacts(
            parameters=model.num_parameters(),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            # Where nothing is said it is four times the width, from GPT-2 on.
            intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
            vocabulary=config.vocab_size,
            max_positions=getattr(config, "max_position_embeddings", None),
            attention=model.config._attn_implementation,
            packable=packable,
        )
    except AttributeError as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> TrainerError:
    return bad_config(
        f"The model's files cannot be used: {first_line(error)} "
        "Give a decoder-only language model in the Hugging Face layout in a new FineTuneJob."
    )


def first_line(error: Exception) -> str:
    """The first sentence of an error, short enough for status."""
    return str(error).strip().partition("\n")[0][:300]


def saved_dtype(folder: Path) -> Any:
    """The number format in which the model came, and in which it is published."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder).dtype


def load_result(result: Path, base: Path, *, bf16: bool, attention: str) -> Any:
    """What training left: the adapter over its base, or the whole model."""
    from peft import PeftModel

    if not (result / "adapter_config.json").exists():
        return load(result, bf16=bf16, attention=attention)
    return PeftModel.from_pretrained(load(base, bf16=bf16, attention=attention), result)
