"""From logits and one uniform number to a token: pure functions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from grpo_tui.generation.types import SamplingSettings
from grpo_tui.ops.logprobs import entropy_of


class Chosen(NamedTuple):
    """Tokens drawn for N rows."""

    tokens_N: Tensor
    logprobs_N: Tensor
    entropies_N: Tensor


def choose(logits_N_V: Tensor, uniforms_N: Tensor, settings: SamplingSettings) -> Chosen:
    """Draw one token for each row by inverting the cumulative distribution at its uniform number.

    Args:
        logits_N_V: last-position logits, any float dtype.
        uniforms_N: numbers in [0, 1), float64.
        settings: temperature, top-p and top-k.
    """
    greedy = settings.temperature == 0
    scaled = logits_N_V.float() if greedy else logits_N_V.float() / settings.temperature
    all_logprobs = torch.log_softmax(scaled, dim=-1)
    # The likeliest by its logit: normalising can round two near logits to one log-prob.
    tokens = scaled.argmax(-1) if greedy else _invert(_filtered(all_logprobs, settings), uniforms_N)
    logprobs = all_logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return Chosen(tokens, logprobs, entropy_of(all_logprobs))


def _filtered(all_logprobs_N_V: Tensor, settings: SamplingSettings) -> Tensor:
    """Unnormalised probabilities in float64, zero where top-k or top-p excludes a token."""
    probabilities = all_logprobs_N_V.double().exp()
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
    cumulative = probabilities_N_V.cumsum(-1)
    total = cumulative[:, -1:].contiguous()
    targets = uniforms_N.unsqueeze(-1).to(cumulative) * total
    # right=True: a token of probability 0 is never the first to exceed the target.
    tokens = torch.searchsorted(cumulative, targets, right=True).squeeze(-1)
    # Rounding can put the target on the total: then the last token that has any probability is meant.
    last = torch.searchsorted(cumulative, total, right=False).squeeze(-1)
    return torch.minimum(tokens, last)
