"""Attention for packed rows: each row attends to itself alone, without a mask over all of them.

A dense block-diagonal mask costs the square of the packed length; this costs the sum of squares.
Registered with transformers by name, and tried out on a model before it is used. Must not know of
training.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from finetune_trainer.batches import OURS, packed

if TYPE_CHECKING:
    import torch

NAME = "finetune_segments"
_NOISE = 1e-3
_NOISE_BF16 = 0.1
"""How much of the logits' size they may differ by: a row that leaks into another is far beyond."""


def register() -> None:
    """Make NAME known as an `attn_implementation`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, no_mask)


def can_pack(model: Any, *, bf16: bool) -> bool:
    """Whether rows that share a sequence come out of a loaded model as each does alone.

    Tried out, because no architecture says so: some carry a state from row to row, some do not
    pass on where rows begin, and some devices lack the kernels. Only windows are longer than what
    is tried. `bf16`: training computes in it. The model has its own attention afterwards.
    """
    import torch

    if type(model)._is_stateful or _has_windows(model.config.get_text_config()):
        return False
    register()
    model.eval()
    own = model.config._attn_implementation
    rows = [list(range(start, end)) for start, end in ((5, 22), (9, 20))]
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        alone = torch.cat([_logits(model, input_ids=torch.tensor([row])) for row in rows], 1)
        try:
            model.set_attn_implementation(NAME)
            if model.config._attn_implementation != NAME:
                return False
            together = _logits(model, **_one_sequence(rows))
        except Exception:  # architectures and kernels refuse in ways of their own
            return False
        finally:
            model.set_attn_implementation(own)
    noise = _NOISE_BF16 if bf16 else _NOISE
    return bool((together - alone).norm() <= noise * (alone - alone.mean()).norm())


def _has_windows(config: Any) -> bool:
    layers = getattr(config, "layer_types", None) or []
    windowed = getattr(config, "sliding_window", None) and getattr(
        config, "use_sliding_window", True
    )
    return any(kind != "full_attention" for kind in layers) if layers else bool(windowed)


def _one_sequence(rows: list[list[int]]) -> dict[str, Any]:
    micro = packed([{"input_ids": row, "labels": row} for row in rows], 0)
    return {key: value for key, value in micro.items() if key not in OURS}


def _logits(model: Any, **inputs: Any) -> "torch.Tensor":
    moved = {k: v if isinstance(v, int) else v.to(model.device) for k, v in inputs.items()}
    logits: torch.Tensor = model(**moved, use_cache=False).logits.float()
    return logits


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
    softcap: float | None = None,
    s_aux: "torch.Tensor | None" = None,
    **_: Any,
) -> tuple["torch.Tensor", None]:
    """Causal attention within the bounds `cu_seq_lens_q`; tensors are (1, heads, length, width)."""
    if softcap is not None or s_aux is not None:
        raise NotImplementedError("capped scores and sinks are not computed here")
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
