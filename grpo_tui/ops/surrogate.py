"""Policy terms: what is minimised for each token, given ratio and advantage.

``ratio`` and ``advantages`` broadcast: ``B_T`` or ``B_1`` each. Every function answers a ``B_T`` loss whose
gradient with respect to ℓ is the (negative) weight that the token gets.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LOG_WEIGHT_LIMIT = 20.0
"""VESPO's bound on |log w|: beyond it the weight is next to nothing anyway, and its parts would overflow."""


class PolicyTerm(NamedTuple):
    """Per-token policy loss and where a bound acted."""

    loss_B_T: Tensor
    clipped_low_B_T: Tensor
    """True where the lower bound took the token's gradient away."""
    clipped_high_B_T: Tensor
    """True where the upper bound did, or capped its weight."""


def unclipped_term(ratio: Tensor, advantages: Tensor, logprobs_B_T: Tensor) -> PolicyTerm:
    """``−ρ A``: the surrogate of TRPO and of the textbook outline."""
    return _unbounded((-ratio * advantages).expand_as(logprobs_B_T))


def score_function_term(advantages: Tensor, logprobs_B_T: Tensor) -> PolicyTerm:
    """``−A ℓ``: REINFORCE (Williams 1992)."""
    return _unbounded(-advantages * logprobs_B_T)


def clipped_term(
    ratio: Tensor,
    advantages: Tensor,
    logprobs_B_T: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    clip_delta: float = 0.0,
) -> PolicyTerm:
    """``−min(min(ρ, δ) A, clip(ρ, 1−ε_low, 1+ε_high) A)`` (PPO, arXiv 1707.06347, equation 7).

    The gradient is 0 where A > 0 and ρ > 1 + ε_high, or A < 0 and ρ < 1 − ε_low; elsewhere it is that of ρ A. With
    ``clip_delta`` δ > 0 (arXiv 2505.07291, two-sided clipping) it is 0 too where A < 0 and ρ > δ, which bounds the loss there.
    """
    capped = ratio.clamp(max=clip_delta) if clip_delta > 0 else ratio
    bounded = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss = -torch.minimum(capped * advantages, bounded * advantages)
    above = (ratio > 1.0 + clip_high) & (advantages > 0)
    if clip_delta > 0:
        above = above | ((ratio > clip_delta) & (advantages < 0))
    below = (ratio < 1.0 - clip_low) & (advantages < 0)
    shape = logprobs_B_T.shape
    return PolicyTerm(loss.expand(shape), below.expand(shape), above.expand(shape))


def cispo_term(ratio: Tensor, advantages: Tensor, logprobs_B_T: Tensor, *, cap: float) -> PolicyTerm:
    """``−sg[min(ρ, cap)] A ℓ`` (CISPO, arXiv 2506.13585, equations 4 and 5): the weight is capped, no token is dropped.

    No lower bound, as in the paper's experiments and in TRL.
    """
    weight = ratio.detach().clamp(max=cap)
    above = (ratio.detach() > cap) & (advantages != 0)
    loss = -weight * advantages * logprobs_B_T
    return PolicyTerm(loss, torch.zeros_like(loss, dtype=torch.bool), above.expand_as(loss))


def sapo_term(
    ratio: Tensor, advantages: Tensor, logprobs_B_T: Tensor, *, tau_positive: float, tau_negative: float
) -> PolicyTerm:
    """``−(4/τ) σ(τ (ρ − 1)) A``, τ by the sign of A: a soft gate around ρ = 1, where its gradient is that of ρ A."""
    tau = _chosen(advantages > 0, tau_positive, tau_negative, logprobs_B_T.dtype)
    return _unbounded(
        (-(4.0 / tau) * torch.sigmoid(tau * (ratio - 1.0)) * advantages).expand_as(logprobs_B_T)
    )


def vespo_term(
    ratio: Tensor,
    advantages: Tensor,
    logprobs_B_T: Tensor,
    *,
    positive: tuple[float, float],
    negative: tuple[float, float],
) -> PolicyTerm:
    """``−sg[φ(w)] A ℓ`` with ``φ(w) = e^λ w^k e^{−λ w}``, so φ(1) = 1; w is the ratio of whole completions.

    Args:
        ratio: w.
        advantages: A.
        logprobs_B_T: ℓ.
        positive: (k, λ) where A ≥ 0.
        negative: (k, λ) where A < 0.
    """
    log_w = ratio.detach().log().clamp(-LOG_WEIGHT_LIMIT, LOG_WEIGHT_LIMIT)
    gains = advantages >= 0
    k = _chosen(gains, positive[0], negative[0], log_w.dtype)
    rate = _chosen(gains, positive[1], negative[1], log_w.dtype)
    phi = (rate + k * log_w - rate * log_w.exp()).exp()
    return _unbounded(-phi * advantages * logprobs_B_T)


def _chosen(condition: Tensor, yes: float, no: float, dtype: torch.dtype) -> Tensor:
    # torch.where of two Python numbers would round them to float32.
    return torch.full_like(condition, no, dtype=dtype).masked_fill(condition, yes)


def _unbounded(loss_B_T: Tensor) -> PolicyTerm:
    nowhere = torch.zeros_like(loss_B_T, dtype=torch.bool)
    return PolicyTerm(loss_B_T, nowhere, nowhere)
