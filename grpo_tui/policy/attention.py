"""Attention for scoring and updating: heads that share keys go together, and short rows keep their probabilities.

On a CPU torch's fused attention pays for never holding a row's probabilities with a slow backward pass. Completions are
short, so here they are held, in the model's dtype, and two batched products do the rest; longer rows go to the fused
kernel, whose memory does not grow with the square of the length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "grpo_tui_update"
SHORT = 1 << 17
"""Queries × keys of one head up to which probabilities are held: 256 kB in bf16."""
_HARMLESS = frozenset({"position_ids", "use_cache", "is_causal", "output_attentions", "cache_position"})


def refuse_other_kinds(options: Mapping[str, Any]) -> None:
    """Refuse what a model gives its attention beyond queries, keys, values, mask and scaling.

    Raises:
        ValueError: soft caps, sinks, windows and the like, by name.
    """
    unknown = {name for name, value in options.items() if value is not None} - _HARMLESS
    if unknown:
        raise ValueError(f"attention with {', '.join(sorted(unknown))}")


def barred(looks: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores so that only where ``looks`` is True is looked at.

    Not −∞: a padded position that sees nothing must not become NaN.
    """
    bar = torch.zeros(looks.shape, dtype=dtype, device=looks.device)
    return bar.masked_fill_(~looks, torch.finfo(dtype).min)


def update_attention(
    module: torch.nn.Module,  # noqa: ARG001 - transformers' signature
    query_B_H_T_D: Tensor,
    key_B_K_S_D: Tensor,
    value_B_K_S_D: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """``softmax(Q Kᵀ · scaling + mask) V`` with gradient, in transformers' layout, ``B_T_H_D``.

    Args:
        module: the attention layer.
        query_B_H_T_D: queries of H heads.
        key_B_K_S_D: keys of K heads, K dividing H.
        value_B_K_S_D: values.
        attention_mask: boolean, broadcastable to ``B_1_T_S``, True where a query may look; None: at what is not later.
        scaling: of the scores; None: 1/√D.
        dropout: must be 0.
        kwargs: what other models' attention would need.

    Raises:
        ValueError: the model's attention is of another kind (soft caps, sinks, windows, dropout).
    """
    refuse_other_kinds(kwargs)
    if dropout:
        raise ValueError("attention with dropout")
    rows, heads, length, size = query_B_H_T_D.shape
    shared, seen = key_B_K_S_D.shape[1], key_B_K_S_D.shape[2]
    if attention_mask is None and length < seen:
        # The fused kernel's own causal mask would let the first query see the first key alone.
        attention_mask = torch.ones(length, seen, dtype=torch.bool, device=query_B_H_T_D.device).tril(
            seen - length
        )[None, None]
    if length * seen > SHORT or query_B_H_T_D.device.type != "cpu":
        masked = attention_mask is not None
        if masked and heads != shared and query_B_H_T_D.device.type != "cpu":
            # With a mask, CUDA has no fused kernel for shared heads: it would hold every probability.
            key_B_K_S_D = key_B_K_S_D.repeat_interleave(heads // shared, dim=1)
            value_B_K_S_D = value_B_K_S_D.repeat_interleave(heads // shared, dim=1)
        out = scaled_dot_product_attention(
            query_B_H_T_D,
            key_B_K_S_D,
            value_B_K_S_D,
            attn_mask=attention_mask,
            is_causal=not masked and length > 1,
            scale=scaling,
            enable_gqa=heads != key_B_K_S_D.shape[1],
        )
        return out.transpose(1, 2), None
    scale = scaling if scaling is not None else size**-0.5
    # H / K queries that share a head of keys, as if they were positions of it.
    query = (query_B_H_T_D * scale).reshape(rows, shared, -1, size)
    scores = torch.matmul(query, key_B_K_S_D.transpose(2, 3)).view(rows, shared, -1, length, seen)
    if attention_mask is None:
        looks = torch.ones(length, seen, dtype=torch.bool, device=scores.device).tril()
    else:
        looks = attention_mask.unsqueeze(1)
    probabilities = torch.softmax(scores.add_(barred(looks, scores.dtype)), dim=-1).view(
        rows, shared, -1, seen
    )
    out = torch.matmul(probabilities, value_B_K_S_D).view(rows, heads, length, size)
    return out.transpose(1, 2), None


AttentionInterface.register(NAME, update_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
