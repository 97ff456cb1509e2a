"""Attention for decoding: queries of one group of heads go together, so that keys and values are never repeated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from grpo_tui.policy.attention import refuse_other_kinds

NAME = "grpo_tui_grouped"


def grouped_attention(
    module: torch.nn.Module,  # noqa: ARG001 - transformers' signature
    query_B_H_T_D: Tensor,
    key_B_K_S_D: Tensor,
    value_B_K_S_D: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001 - nothing is dropped in sampling
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """``softmax(Q Kᵀ · scaling + mask) V`` in transformers' layout, ``B_T_H_D``.

    Args:
        module: the attention layer.
        query_B_H_T_D: queries of H heads.
        key_B_K_S_D: keys of K heads, K dividing H.
        value_B_K_S_D: values.
        attention_mask: boolean, broadcastable to ``B_1_T_S``, True where a query may look; None: everywhere.
        scaling: of the scores; None: 1/√D.
        dropout: ignored.
        kwargs: what other models' attention would need.

    Raises:
        ValueError: the model's attention is of another kind (soft caps, sinks, windows).
    """
    refuse_other_kinds(kwargs)
    rows, heads, length, size = query_B_H_T_D.shape
    shared = key_B_K_S_D.shape[1]
    if length == 1:
        # H / K queries that share a head of keys, as if they were positions of it.
        query = query_B_H_T_D.view(rows, shared, heads // shared, size)
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key_B_K_S_D, value_B_K_S_D, attn_mask=attention_mask, scale=scaling
        )
        return out.reshape(rows, 1, heads, size), None
    if heads != shared:  # with a mask, CUDA has no fused kernel for shared heads
        key_B_K_S_D = key_B_K_S_D.repeat_interleave(heads // shared, dim=1)
        value_B_K_S_D = value_B_K_S_D.repeat_interleave(heads // shared, dim=1)
    out = torch.nn.functional.scaled_dot_product_attention(
        query_B_H_T_D, key_B_K_S_D, value_B_K_S_D, attn_mask=attention_mask, scale=scaling
    )
    return out.transpose(1, 2), None


AttentionInterface.register(NAME, grouped_attention)
