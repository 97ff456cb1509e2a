"""TRPO's inner mathematics on flat vectors: conjugate gradient, the step's length, the backtracking line search.

Schulman et al., arXiv 1502.05477, section 6 and appendix C. A matrix is a function from a vector to its product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]


def conjugate_gradient(matvec: Matvec, b_N: Tensor, iterations: int, tolerance: float = 1e-10) -> Tensor:
    """Solve ``M x = b`` approximately, from x = 0, for a symmetric positive definite M.

    Args:
        matvec: v ↦ M v.
        b_N: right-hand side.
        iterations: at most so many products.
        tolerance: stops once ``‖r‖² ≤ tolerance · ‖b‖²``.
    """
    x, r, p = torch.zeros_like(b_N), b_N.clone(), b_N.clone()
    squared = r.dot(r)
    target = tolerance * squared
    for _ in range(iterations):
        if squared <= target:
            break
        product = matvec(p)
        curvature = p.dot(product)
        if curvature <= 0:
            # Not positive definite in this direction: what is found so far is a descent direction.
            break
        alpha = squared / curvature
        x = x + alpha * p
        r = r - alpha * product
        previous, squared = squared, r.dot(r)
        p = r + (squared / previous) * p
    return x


def step_scale(step_N: Tensor, product_N: Tensor, kl_limit: float) -> float:
    """``√(2δ / sᵀ M s)``: the longest multiple of s whose quadratic model of KL stays within δ.

    0 where s has no curvature, since the model then allows any length.
    """
    curvature = float(step_N.dot(product_N))
    return math.sqrt(2.0 * kl_limit / curvature) if curvature > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the line search: measured exactly, not by the quadratic model."""

    scale: float
    kl: float
    """Mean exact KL(π_old ‖ π_θ)."""
    gain: float
    """How much the surrogate rose."""

    def accepted(self, kl_limit: float) -> bool:
        """Within the region, and better. NaN is neither."""
        return self.kl <= kl_limit and self.gain > 0


def line_search(
    measure: Callable[[float], Trial], kl_limit: float, shrink: float, tries: int
) -> tuple[Trial | None, list[Trial]]:
    """Try the scales 1, ``shrink``, ``shrink²`` … of the step; give the first that is accepted, and all tried."""
    trials: list[Trial] = []
    for attempt in range(tries):
        trial = measure(shrink**attempt)
        trials.append(trial)
        if trial.accepted(kl_limit):
            return trial, trials
    return None, trials
