"""From logits and one uniform number to a token: pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from grpo_tui.generation.types import SamplingSettings


class Chosen(NamedTuple):
    """Tokens drawn for N rows."""

    tokens_N: Tensor
    logprobs_N: Tensor
    entropies_N: Tensor


Choose = Callable[[Tensor, Tensor, SamplingSettings], Chosen]
"""Logits ``N_V``, uniform numbers ``N``, and how to draw."""


def choose(logits_N_V: Tensor, uniforms_N: Tensor, settings: SamplingSettings) -> Chosen:
    """Draw one token for each row by inverting the cumulative distribution at its uniform number.

    Args:
        logits_N_V: last-position logits, any float dtype.
        uniforms_N: numbers in [0, 1), float64.
        settings: temperature, top-p and top-k.

    Where the logits are no distribution (NaN, +∞, −∞ everywhere) the log-prob is NaN, and the token any.
    """
    greedy = settings.temperature == 0
    scaled = (
        logits_N_V.float()
        if greedy or settings.temperature == 1
        else logits_N_V.float() / settings.temperature
    )
    highest = scaled.amax(-1, keepdim=True)
    # New memory for a whole vocabulary costs more than a pass over it: what is ours is overwritten.
    below = scaled - highest if scaled.data_ptr() == logits_N_V.data_ptr() else scaled.sub_(highest)
    weights = below.exp()
    total = weights.sum(-1)
    normaliser = total.log()
    if greedy:
        # The likeliest by its logit: normalising can round two near logits to one log-prob.
        tokens = logits_N_V.argmax(-1)
    elif settings.top_p < 1.0 or 0 < settings.top_k < scaled.shape[-1]:
        tokens = _invert(filtered(weights, settings), uniforms_N)
    else:
        tokens = _invert_by_blocks(weights, uniforms_N)
    logprobs = below.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - normaliser
    # H = lse − Σ p z; forbidden tokens (z = −∞) count nothing.
    mean = weights.mul_(below.clamp_(min=_FORBIDDEN)).sum(-1) / total
    return Chosen(tokens, logprobs, normaliser - mean)


_FORBIDDEN = -1e4
"""Log-odds below which exp() is 0 in float32."""
_BLOCK = 256


def _invert_by_blocks(weights_N_V: Tensor, uniforms_N: Tensor) -> Tensor:
    """As :func:`_invert`, with float64 sums over blocks and inside one block only."""
    spare = -weights_N_V.shape[-1] % _BLOCK
    whole = torch.nn.functional.pad(weights_N_V, (0, spare)) if spare else weights_N_V
    blocks_N_K_L = whole.view(len(weights_N_V), -1, _BLOCK)
    sums_N_K = blocks_N_K_L.sum(-1).double()
    block_N, rest_N = _find(sums_N_K, uniforms_N)
    inside_N_L = blocks_N_K_L[torch.arange(len(block_N), device=block_N.device), block_N].double()
    token_N, _ = _find(inside_N_L, rest_N)
    return (block_N * _BLOCK + token_N).clamp_(max=weights_N_V.shape[-1] - 1)


def _find(weights_N_K: Tensor, shares_N: Tensor) -> tuple[Tensor, Tensor]:
    """The slot in which a share of the total weight falls, and at which share of the slot."""
    cumulative = weights_N_K.cumsum(-1)
    slots = _first_beyond(cumulative, shares_N)
    weight = weights_N_K.gather(-1, slots.unsqueeze(-1)).squeeze(-1)
    start = cumulative.gather(-1, slots.unsqueeze(-1)).squeeze(-1) - weight
    share = (shares_N.to(cumulative) * cumulative[:, -1] - start) / weight
    return slots, share.clamp_(0.0, 1.0)


def filtered(weights_N_V: Tensor, settings: SamplingSettings) -> Tensor:
    """Unnormalised probabilities in float64, zero where top-k or top-p excludes a token."""
    probabilities = weights_N_V.double()
    if 0 < settings.top_k < probabilities.shape[-1]:
        smallest = probabilities.topk(settings.top_k, dim=-1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < smallest, 0.0)
    if settings.top_p < 1.0:
        ordered, indices = probabilities.sort(dim=-1, descending=True)
        ordered_cumulative = ordered.cumsum(-1) / ordered.sum(-1, keepdim=True)
        # A token stays while what comes before it has not yet reached top_p, so the first always stays.
        before = ordered_cumulative - ordered / ordered.sum(-1, keepdim=True)
        ordered = ordered.masked_fill(before >= settings.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, indices, ordered)
    return probabilities


def _invert(probabilities_N_V: Tensor, uniforms_N: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds the row's uniform number."""
    return _first_beyond(probabilities_N_V.cumsum(-1), uniforms_N)


def _first_beyond(cumulative_N_V: Tensor, shares_N: Tensor) -> Tensor:
    """The first slot whose cumulative weight exceeds a share of the total."""
    total = cumulative_N_V[:, -1:].contiguous()
    targets = shares_N.unsqueeze(-1).to(cumulative_N_V) * total
    # right=True: a slot of weight 0 is never the first to exceed the target.
    slots = torch.searchsorted(cumulative_N_V, targets, right=True).squeeze(-1)
    # Rounding can put the target on the total: then the last slot that has any weight is meant.
    last = torch.searchsorted(cumulative_N_V, total, right=False).squeeze(-1)
    # Beyond the end are only sums of NaN; CUDA would not survive an index there.
    return torch.minimum(slots, last).clamp_(max=cumulative_N_V.shape[-1] - 1)
