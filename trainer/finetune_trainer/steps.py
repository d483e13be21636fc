"""The optimiser step: our part of TRL's trainer, as a mixin so that nothing heavy is imported here.

One batch of the data loader is one step; its micro-batches are summed into one gradient. What a
step has broken is never saved. Must not know when that is, nor of signals or progress.
"""

from typing import TYPE_CHECKING, Any

from finetune_trainer.batches import OURS, MicroBatch
from finetune_trainer.errors import diverged

if TYPE_CHECKING:
    import torch


class Meter:
    """Tokens that were trained on in this attempt, counted without asking the device."""

    def __init__(self) -> None:
        self.tokens = 0


class WholeSteps:
    """Overrides of SFTTrainer: the loss is the mean over all supervised tokens of the step."""

    meter: Meter
    accelerator: Any
    compute_loss_context_manager: Any
    state: Any
    _probe: MicroBatch

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: object = None
    ) -> "torch.Tensor":
        """Forward and backward of every micro-batch; returns the step's loss."""
        import torch

        model.train()
        losses = []
        for micro in inputs["micro_batches"]:
            with self.compute_loss_context_manager():
                loss = summed_loss(model, micro) / inputs["supervised"]
            self.accelerator.backward(loss)
            losses.append(loss.detach())
        self.meter.tokens += inputs["tokens"]
        self._probe = inputs["probe"]
        return torch.stack(losses).sum()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save, unless the update that nothing was computed with yet went wrong."""
        import torch

        model.eval()  # dropout would draw from the generator that is saved
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = summed_loss(model, self._probe)
        weights = (each for each in model.parameters() if each.requires_grad)
        sound = torch.stack([loss.isfinite(), *(each.isfinite().all() for each in weights)])
        if not sound.all():
            raise diverged("The model is", self.state.global_step)
        super()._save_checkpoint(model, trial)  # type: ignore[misc]


def summed_loss(model: Any, micro: MicroBatch) -> "torch.Tensor":
    """The negative log-likelihood of a micro-batch's answers, summed.

    Only positions that predict an answer's token are projected onto the vocabulary.
    """
    inputs = {key: value for key, value in micro.items() if key not in OURS}
    if micro["input_ids"].is_cuda:
        # TRL's fused head never holds the logits of all positions; elsewhere it is slower.
        out = model(**inputs, labels=micro["labels"], fused_lm_head=True, use_cache=False)
        total: torch.Tensor = -out.log_probs.sum()
        return total
    return _cpu_loss(model, inputs, micro)


def _cpu_loss(model: Any, inputs: MicroBatch, micro: MicroBatch) -> "torch.Tensor":
    from torch.nn.functional import cross_entropy

    logits = model(**inputs, logits_to_keep=micro["keep"], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1).float(), micro["targets"].flatten(), reduction="sum")
