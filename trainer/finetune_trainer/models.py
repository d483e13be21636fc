"""Opens a model's folder: facts before anything is loaded, then tokenizer and weights.

Knows transformers; must not know of training or rows.
"""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from finetune_trainer.decisions import ModelFacts
from finetune_trainer.errors import bad_config


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


def facts(folder: Path) -> ModelFacts:
    """What the model's settings and the headers of its weights say."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder).get_text_config()
        return ModelFacts(
            parameters=_parameters(folder),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
            max_positions=config.max_position_embeddings,
            plain_attention=_plain_attention(config.to_dict()),
        )
    except (OSError, ValueError, AttributeError) as error:
        raise bad_config(
            f"The model's files cannot be used: {first_line(error)} "
            "Give a decoder-only language model in the Hugging Face layout in a new FineTuneJob."
        ) from error


def _plain_attention(config: dict[str, Any]) -> bool:
    layers = config.get("layer_types") or []
    windowed = config.get("sliding_window") and config.get("use_sliding_window", True)
    return all(kind == "full_attention" for kind in layers) if layers else not windowed


def _parameters(folder: Path) -> int:
    """Numbers in the weight files, by their headers alone."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise ValueError("there are no model*.safetensors.")
    return sum(prod(tensor["shape"]) for file in files for tensor in _header(file))


def _header(file: Path) -> list[dict[str, Any]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return [value for key, value in header.items() if key != "__metadata__"]


def load(folder: Path, *, bf16: bool, attention: str) -> Any:
    """The model with its weights in bfloat16 or float32, on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if bf16 else torch.float32
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention
        )
    except (OSError, ValueError) as error:
        raise bad_config(f"The model cannot be loaded: {first_line(error)}") from error


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
