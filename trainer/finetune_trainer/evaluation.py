"""Mean negative log-likelihood of the answers in a set of examples.

Knows a model and tokens; must not know files or reports.
"""

from collections.abc import Callable, Sequence
from typing import Any

from finetune_trainer.batches import StepCollator
from finetune_trainer.conversation import Example
from finetune_trainer.steps import summed_loss


def mean_loss(
    model: Any,
    examples: Sequence[Example],
    collator: StepCollator,
    *,
    autocast: bool,
    told: Callable[[int], None] = lambda _: None,
) -> float:
    """The mean over all supervised tokens, in nats; the model is left in evaluation mode.

    `told` hears how many examples are scored so far.
    """
    import torch

    model.eval()
    device = model.device
    total = torch.zeros((), device=device, dtype=torch.float64)
    rows = [vars(example) for example in examples]
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        for number, micro in enumerate(collator.micro_batches(rows), 1):
            total += summed_loss(model, _moved(micro, device))
            told(min(number * collator.rows, len(rows)))
    return float(total.item()) / sum(example.supervised for example in examples)


def _moved(micro: dict[str, Any], device: Any) -> dict[str, Any]:
    return {
        key: value if isinstance(value, int) else value.to(device) for key, value in micro.items()
    }
