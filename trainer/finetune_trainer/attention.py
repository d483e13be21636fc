"""Attention for packed rows: each row attends to itself alone, without a mask over all of them.

A dense block-diagonal mask costs the square of the packed length; this costs the sum of squares.
Registered with transformers by name; must not know of training.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "finetune_segments"


def register() -> None:
    """Make NAME known as an `attn_implementation`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, no_mask)


def no_mask(**_: Any) -> None:
    """Packed rows carry their bounds, so that no mask is ever built."""


def segment_attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: None,
    *,
    cu_seq_lens_q: "torch.Tensor",
    max_length_q: int,
    scaling: float | None = None,
    **_: Any,
) -> tuple["torch.Tensor", None]:
    """Causal attention within the bounds `cu_seq_lens_q`; tensors are (1, heads, length, width)."""
    if query.is_cuda:
        return _varlen(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    return _per_segment(query, key, value, cu_seq_lens_q.tolist(), scaling), None


def _varlen(
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    bounds: "torch.Tensor",
    longest: int,
    scaling: float | None,
) -> "torch.Tensor":
    """The flash kernels in torch, which take the bounds as they are."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    out = varlen_attn(
        q,
        k,
        v,
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0),
        enable_gqa=grouped,
    )
    assert isinstance(out, torch.Tensor)  # a tuple only if more is asked for
    return out.unsqueeze(0)


def _per_segment(
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    bounds: list[int],
    scaling: float | None,
) -> "torch.Tensor":
    """One causal SDPA per row: exact, and quadratic only in that row's length."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    shared = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(shared, 1) for tensor in (key, value))
    parts = [
        scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            is_causal=True,
            scale=scaling,
        )
        for start, end in pairwise(bounds)
    ]
    out = torch.cat(parts, dim=2)
    return out.transpose(1, 2).contiguous()
