"""Makes one optimiser step of its rows: micro-batches, packed or padded, never across steps.

What forms a step is decided by the sampler alone; nothing here may change it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune_trainer.conversation import IGNORED

if TYPE_CHECKING:
    import torch

MicroBatch = dict[str, Any]
"""Tensors for one forward pass: the model's inputs, `labels`, and where labels are (`keep`)."""
OURS = frozenset({"labels", "keep", "targets"})
"""Parts of it that are not the model's."""


@dataclass(frozen=True, kw_only=True)
class StepCollator:
    """Turns the rows of a step into micro-batches of at most `rows` rows."""

    rows: int
    packing: bool
    pad_token: int

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The step; its loss is the mean over `supervised` tokens. `probe` is its shortest row."""
        shortest = min(examples, key=lambda example: len(example["input_ids"]))
        return {
            "micro_batches": list(self.micro_batches(examples)),
            "probe": next(self.micro_batches([shortest])),
            "supervised": sum(
                label != IGNORED for example in examples for label in example["labels"]
            ),
            "tokens": sum(len(example["input_ids"]) for example in examples),
        }

    def micro_batches(self, examples: Sequence[dict[str, Any]]) -> Iterator[MicroBatch]:
        """One forward pass after the other, made when it is asked for."""
        make = packed if self.packing else padded
        return (make(group, self.pad_token) for group in groups(examples, self.rows))


def groups(examples: Sequence[dict[str, Any]], rows: int) -> list[list[dict[str, Any]]]:
    """Cut a step into groups of similar length, the longest first."""
    ordered = sorted(examples, key=lambda example: -len(example["input_ids"]))
    return [list(ordered[start : start + rows]) for start in range(0, len(ordered), rows)]


def packed(examples: Sequence[dict[str, Any]], _pad_token: int) -> MicroBatch:
    """Rows one after the other in a single sequence, each with positions of its own."""
    import torch

    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]).to(torch.int32)
    labels = torch.tensor([label for example in examples for label in example["labels"]])
    return {
        "input_ids": torch.tensor([[t for example in examples for t in example["input_ids"]]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": int(lengths.max()),
        "max_length_k": int(lengths.max()),
        **_targets(labels[None]),
    }


def padded(examples: Sequence[dict[str, Any]], pad_token: int) -> MicroBatch:
    """Rows below each other, filled up to the longest."""
    import torch

    longest = max(len(example["input_ids"]) for example in examples)

    def fill(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (longest - len(values))]

    ids = [fill(example["input_ids"], pad_token) for example in examples]
    mask = [fill([1] * len(example["input_ids"]), 0) for example in examples]
    labels = [fill(example["labels"], IGNORED) for example in examples]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        **_targets(torch.tensor(labels)),
    }


def _targets(labels: "torch.Tensor") -> MicroBatch:
    """`keep`: positions whose next token carries loss in any row; only they need logits."""
    following = labels[:, 1:]
    keep = (following != IGNORED).any(0).nonzero()[:, 0]
    return {"labels": labels, "keep": keep, "targets": following[:, keep]}
