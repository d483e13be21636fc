"""A random language model of 60,000 parameters with a byte tokenizer, made in code in a moment."""

from pathlib import Path
from typing import Any

from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

VOCABULARY = 259


def make_model(folder: Path, *, template: str = CHAT_TEMPLATE, seed: int = 0) -> Path:
    """Write a Hugging Face folder: Qwen3's architecture, grouped heads, tied embeddings."""
    make_tokenizer(folder, template)
    tiny("qwen3", seed=seed, head_dim=8, tie_word_embeddings=True).save_pretrained(folder)
    return folder


def tiny(kind: str, /, *, seed: int = 0, **settings: Any) -> Any:
    """A random model of an architecture, by transformers' name for it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": VOCABULARY - 1,
        "pad_token_id": VOCABULARY - 3,
    }
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(common | settings)))
