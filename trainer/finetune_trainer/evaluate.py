"""Scores a model on rows, the slow and exact way: float32, eager attention, one row at a time.

    python -m finetune_trainer.evaluate --result DIR --model BASE --data ROWS.jsonl

Prints one JSON object: the mean negative log-likelihood over assistant tokens, and their number.
The judge of benchmarks: must share no shortcut with training.
"""

import argparse
import json
from pathlib import Path

from finetune_data.chat import read_chat_rows
from finetune_trainer import environment, models
from finetune_trainer.batches import StepCollator
from finetune_trainer.conversation import Renderer
from finetune_trainer.evaluation import mean_loss


def main() -> None:
    """Score what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--result", type=Path, help="result folder; absent: the base alone")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--data", type=Path, required=True, help="chat rows, JSON Lines")
    options = parser.parse_args()
    environment.prepare()
    print(json.dumps(score(options.result or options.model, options.model, options.data)))


def score(result: Path, base: Path, data: Path) -> dict[str, float]:
    """The loss of `result` on the rows of a file, and the number of tokens that count."""
    tokenizer = models.tokenizer(base)
    renderer = Renderer(tokenizer)
    examples = renderer.examples(read_chat_rows(data), data.name)
    model = models.load_result(result, base, bf16=False, attention="eager")
    collator = StepCollator(rows=1, packing=False, pad_token=tokenizer.pad_token_id)
    loss = mean_loss(model, examples, collator, autocast=False)
    return {"loss": loss, "tokens": sum(example.supervised for example in examples)}


if __name__ == "__main__":
    main()
