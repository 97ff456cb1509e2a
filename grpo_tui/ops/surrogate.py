"""The probability ratio and the clipped policy term (PPO, arXiv 1707.06347, equation 7)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ClippedTerm(NamedTuple):
    """Per-token policy loss and where the bound acted."""

    loss_B_T: Tensor
    clipped_B_T: Tensor
    """True where the clip removed the gradient of the token."""


def token_ratio(logprobs_B_T: Tensor, old_logprobs_B_T: Tensor, mask_B_T: Tensor) -> Tensor:
    """``ρ_t = exp(ℓ_t − ℓ°_t)``, 1 in padded slots. Exactly 1 where the two log-probs are the same numbers."""
    difference = torch.where(mask_B_T, logprobs_B_T - old_logprobs_B_T, torch.zeros_like(logprobs_B_T))
    return difference.exp()


def clipped_surrogate(
    ratio_B_T: Tensor, advantages_B_1: Tensor, clip_low: float, clip_high: float
) -> ClippedTerm:
    """``−min(ρ A, clip(ρ, 1−ε_low, 1+ε_high) A)`` for each token.

    The gradient is 0 where A > 0 and ρ > 1 + ε_high, or A < 0 and ρ < 1 − ε_low; elsewhere it is that of ρ A.
    """
    bounded = ratio_B_T.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss = -torch.minimum(ratio_B_T * advantages_B_1, bounded * advantages_B_1)
    above = (ratio_B_T > 1.0 + clip_high) & (advantages_B_1 > 0)
    below = (ratio_B_T < 1.0 - clip_low) & (advantages_B_1 < 0)
    return ClippedTerm(loss, above | below)
