"""The two profiles of the trainer benchmark: a real small model on a CPU, a larger one on a GPU.

Knows sizes and where models come from; must not know how they are trained.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import smollm2


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is trained: so many steps of `batch` of the first `rows` rows.

    Attributes:
        packed_rows: Sequences of 1024 tokens that hold as many examples on average, for arm B.
        judged: Held-out rows that score a result.
    """

    name: str
    rows: int
    steps: int
    batch: int
    packed_rows: int
    judged: int
    gpu: bool
    make_model: Callable[[], Path]


def profile(*, gpu: bool) -> Profile:
    """The profile for this kind of machine."""
    if gpu:
        return Profile(
            name="1.2B parameters at random, bf16, one GPU",
            rows=448,
            steps=14,
            batch=32,
            packed_rows=7,
            judged=10,
            gpu=True,
            make_model=random_model,
        )
    return Profile(
        name="SmolLM2-135M-Instruct, CPU",
        rows=40,
        steps=5,
        batch=8,
        packed_rows=2,
        judged=10,
        gpu=False,
        make_model=lambda: smollm2.ensure(smollm2.default_directory()),
    )


def random_model() -> Path:
    """Llama's architecture at 1.2B with SmolLM2's tokenizer, made once."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    small = smollm2.ensure(smollm2.default_directory())
    folder = small.parent / "random-1b"
    if (folder / "config.json").exists():
        return folder
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    AutoTokenizer.from_pretrained(small).save_pretrained(folder)
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    return folder
