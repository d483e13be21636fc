"""Arm B of the trainer benchmark: TRL as a person who knows it would set it by hand.

    python -m bench.trainer_tuned PACKED_ROWS <the flags of `trl sft`>

One process instead of the command line's two; bf16 base, no activation checkpointing, packing.
PACKED_ROWS sequences of 1024 tokens hold, on average, the examples of a step.
"""

import sys
from typing import Any


def main(packed_rows: str, flags: list[str]) -> None:
    """Train and save."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.scripts.utils import ScriptArguments, TrlParser
    from trl.trainer.model_config import ModelConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
    from trl.trainer.utils import get_peft_config

    tuned = [
        "--dtype=bfloat16",
        "--activation_checkpointing=false",
        "--packing=true",
        f"--per_device_train_batch_size={packed_rows}",
    ]
    parts: list[Any] = [ScriptArguments, SFTConfig, ModelConfig]
    parser = TrlParser(parts)
    script, training, model = parser.parse_args_and_config([*flags, *tuned])
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model.model_name_or_path, dtype="bfloat16"),
        args=training,
        train_dataset=load_dataset(script.dataset_name, split="train"),
        processing_class=AutoTokenizer.from_pretrained(model.model_name_or_path),
        peft_config=get_peft_config(model),
    )
    trainer.train()
    trainer.save_model(training.output_dir)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
