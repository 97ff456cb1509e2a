"""Rewards of a group become advantages.

Formulas: ALGORITHMS.md, table "Advantage". ``zscore`` is DeepSeekMath (arXiv 2402.03300, section 4.1.2)
with a Bessel-corrected deviation and a stabiliser, as in TRL; ``mean`` is Dr. GRPO (arXiv 2503.20783).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

STABILISER = 1e-4
"""Added to the standard deviation, so that a nearly equal group is not blown up."""


def mean_advantages(rewards_P_G: Tensor) -> Tensor:
    """``A = R − mean_G(R)``."""
    return rewards_P_G - rewards_P_G.mean(dim=1, keepdim=True)


def zscore_advantages(rewards_P_G: Tensor) -> Tensor:
    """``A = (R − mean_G(R)) / (std_G(R) + 1e-4)``, the deviation with G − 1 in the denominator."""
    return mean_advantages(rewards_P_G) / (rewards_P_G.std(dim=1, keepdim=True, correction=1) + STABILISER)


def exact_zeros(advantages_P_G: Tensor, rewards_P_G: Tensor) -> Tensor:
    """Advantages with groups of equal rewards at exactly 0, free of the rounding of their mean."""
    equal_P = (rewards_P_G == rewards_P_G[:, :1]).all(dim=1, keepdim=True)
    return advantages_P_G.masked_fill(equal_P, 0.0)


ADVANTAGES: dict[str, Callable[[Tensor], Tensor]] = {"mean": mean_advantages, "zscore": zscore_advantages}


def compute_advantages(name: str, rewards_P_G: Tensor) -> Tensor:
    """Advantages by name; a group whose rewards are all equal gets exact zeros."""
    return exact_zeros(ADVANTAGES[name](rewards_P_G), rewards_P_G)
