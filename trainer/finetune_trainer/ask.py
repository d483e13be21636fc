"""Asks a model the same question before and after fine-tuning.

    python -m finetune_trainer.ask --result DIR --model BASE --prompt "What is 2 + 3?"

For people to look at; must not be taken for an evaluation.
"""

import argparse
from pathlib import Path
from typing import Any

from finetune_trainer import environment, hardware, models


def main() -> None:
    """Print both answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--result", type=Path, required=True, help="result folder")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--system", help="the system message that the rows were trained with")
    parser.add_argument("--max-tokens", type=int, default=160)
    options = parser.parse_args()
    environment.prepare()

    machine = hardware.inspect()
    # Token by token, a CPU waits for memory layouts of bfloat16, not for multiplications.
    bf16 = machine.fast_bf16 and machine.device == "cuda"
    tokenizer = models.tokenizer(options.model)
    system = [{"role": "system", "content": options.system}] if options.system else []
    messages = [*system, {"role": "user", "content": options.prompt}]
    base = models.load(options.model, bf16=bf16, attention="sdpa")
    print(f"Before: {answer(base, tokenizer, messages, options.max_tokens)}", flush=True)
    tuned = models.load_result(options.result, options.model, bf16=bf16, attention="sdpa")
    print(f"After:  {answer(tuned, tokenizer, messages, options.max_tokens)}")


def answer(model: Any, tokenizer: Any, messages: list[dict[str, str]], max_tokens: int) -> str:
    """The most likely answer, token by token."""
    model.eval()
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tokens = model.generate(**prompt, max_new_tokens=max_tokens, do_sample=False)
    written = tokens[0][prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(written, skip_special_tokens=True)).strip()


if __name__ == "__main__":
    main()
