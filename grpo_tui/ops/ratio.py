"""The probability ratio between the policy and the one that sampled, of a token or of a whole completion.

On ``d_t = ℓ_t − ℓ°_t``: ``token`` ρ_t = e^{d_t} (PPO, arXiv 1707.06347, section 3); ``sequence_mean``
ρ = exp(Σ m d / Σ m) (GSPO, arXiv 2507.18071, equation 7); ``sequence_product`` ρ = exp(Σ m d), the ratio of the
whole answers' probabilities.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grpo_tui.ops.masking import zero_where_masked


def log_ratios(logprobs_B_T: Tensor, old_logprobs_B_T: Tensor, mask_B_T: Tensor) -> Tensor:
    """``d_t = ℓ_t − ℓ°_t``, exactly 0 in padded slots, whose NaNs reach neither value nor gradient."""
    # Each side by itself: 0 · NaN in the backward pass of a difference would be NaN again.
    return zero_where_masked(logprobs_B_T, mask_B_T) - zero_where_masked(old_logprobs_B_T, mask_B_T)


def token_ratio(log_ratios_B_T: Tensor, mask_B_T: Tensor) -> Tensor:  # noqa: ARG001 - one signature for all
    """``ρ_t = exp(d_t)``, ``B_T``: 1 in padded slots, and exactly 1 where both log-probs are the same numbers."""
    return log_ratios_B_T.exp()


def sequence_mean_ratio(log_ratios_B_T: Tensor, mask_B_T: Tensor) -> Tensor:
    """``ρ = exp(Σ m d / Σ m)``, ``B_1``: the geometric mean of a completion's token ratios."""
    num_tokens = mask_B_T.sum(dim=1, keepdim=True).clamp(min=1)
    return (log_ratios_B_T.sum(dim=1, keepdim=True) / num_tokens).exp()


def sequence_product_ratio(log_ratios_B_T: Tensor, mask_B_T: Tensor) -> Tensor:  # noqa: ARG001 - as above
    """``ρ = exp(Σ m d)``, ``B_1``: the ratio of the whole completions' probabilities."""
    return log_ratios_B_T.sum(dim=1, keepdim=True).exp()


RATIOS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "token": token_ratio,
    "sequence_mean": sequence_mean_ratio,
    "sequence_product": sequence_product_ratio,
}


def share_outside(noise: float, length: int, low: float = 0.2, high: float = 0.2) -> float:
    """Share of completions whose ``sequence_product`` ratio leaves [1 − low, 1 + high] by noise alone.

    Args:
        noise: standard deviation of ``d_t``, independent over tokens with mean 0.
        length: tokens of a completion.
        low: ε_low.
        high: ε_high.
    """
    spread = torch.tensor(noise, dtype=torch.float64) * length**0.5
    bounds = torch.tensor([1.0 - low, 1.0 + high], dtype=torch.float64).log() / spread
    below, above = torch.special.ndtr(bounds).tolist()
    return float(below + 1.0 - above)
