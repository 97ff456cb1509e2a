"""Rewards become advantages.

Formulas: ALGORITHMS.md, table "Advantage". ``zscore`` is DeepSeekMath (arXiv 2402.03300, section 4.1.2) with a
Bessel-corrected deviation and a stabiliser, as in TRL; ``mean`` is Dr. GRPO (arXiv 2503.20783); ``leave_one_out``
is RLOO (arXiv 2402.14740); ``batch`` is TRL's ``scale_rewards="batch"``; ``none`` and ``ema`` are
REINFORCE (Williams 1992) without and with a running baseline.

Groups may differ in size: ``present_P_G`` tells which slots of the rectangle hold a completion. Absent slots may
hold anything and get the advantage 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STABILISER = 1e-4
"""Added to the standard deviation, so that a nearly equal group is not blown up."""


def group_means(rewards_P_G: Tensor, present_P_G: Tensor) -> Tensor:
    """Mean reward of each group, ``P_1``."""
    held = rewards_P_G.masked_fill(~present_P_G, 0.0)
    return held.sum(dim=1, keepdim=True) / present_P_G.sum(dim=1, keepdim=True)


def mean_advantages(rewards_P_G: Tensor, present_P_G: Tensor) -> Tensor:
    """``A = R − mean_G(R)``."""
    return (rewards_P_G - group_means(rewards_P_G, present_P_G)).masked_fill(~present_P_G, 0.0)


def zscore_advantages(rewards_P_G: Tensor, present_P_G: Tensor) -> Tensor:
    """``A = (R − mean_G(R)) / (std_G(R) + 1e-4)``, the deviation with G − 1 in the denominator."""
    centred = mean_advantages(rewards_P_G, present_P_G)
    variance = centred.square().sum(dim=1, keepdim=True) / (present_P_G.sum(dim=1, keepdim=True) - 1)
    return centred / (variance.sqrt() + STABILISER)


def leave_one_out_advantages(rewards_P_G: Tensor, present_P_G: Tensor) -> Tensor:
    """``A_k = R_k − mean of the other G − 1``, which is ``G/(G−1) · (R_k − mean_G(R))``."""
    size = present_P_G.sum(dim=1, keepdim=True)
    return mean_advantages(rewards_P_G, present_P_G) * size / (size - 1)


def batch_advantages(rewards_P_G: Tensor, present_P_G: Tensor) -> Tensor:
    """``A = (R − mean_G(R)) / (std over the batch + 1e-4)``: the deviation of all rewards, Bessel-corrected."""
    held = rewards_P_G[present_P_G]
    deviation = held.std(correction=1) if len(held) > 1 else 0.0  # of less there is none
    return mean_advantages(rewards_P_G, present_P_G) / (deviation + STABILISER)


def exact_zeros(advantages_P_G: Tensor, rewards_P_G: Tensor, present_P_G: Tensor) -> Tensor:
    """Advantages with groups of equal rewards at exactly 0, free of the rounding of their mean."""
    first = present_P_G.int().argmax(dim=1, keepdim=True)
    equal = (rewards_P_G == rewards_P_G.gather(1, first)) | ~present_P_G
    return advantages_P_G.masked_fill(equal.all(dim=1, keepdim=True), 0.0)


GROUP_RELATIVE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean_advantages,
    "zscore": zscore_advantages,
    "leave_one_out": leave_one_out_advantages,
    "batch": batch_advantages,
}
"""Advantages that compare a completion with its group; a group of equal rewards carries no signal."""


def compute_advantages(
    name: str, rewards_P_G: Tensor, present_P_G: Tensor | None = None, *, baseline: float = 0.0
) -> Tensor:
    """Advantages by name, ``P_G``.

    Args:
        name: ``zscore``, ``mean``, ``leave_one_out``, ``batch``, or ``none`` and ``ema``, which compare with
            ``baseline`` instead of the group.
        rewards_P_G: rewards.
        present_P_G: which slots hold a completion; None: all.
        baseline: what ``ema`` subtracts: should not depend on these rewards. In a run's first step it is their own
            mean, for want of another, which shrinks the expected gradient by 1/N and keeps its direction.

    Raises:
        ValueError: no such advantage (``gae`` needs values: see :mod:`grpo_tui.ops.values`).
    """
    if present_P_G is None:
        present_P_G = torch.ones_like(rewards_P_G, dtype=torch.bool)
    if name in GROUP_RELATIVE:
        advantages = GROUP_RELATIVE[name](rewards_P_G, present_P_G)
        return exact_zeros(advantages, rewards_P_G, present_P_G)
    if name == "none":
        return rewards_P_G.masked_fill(~present_P_G, 0.0)
    if name == "ema":
        return (rewards_P_G - baseline).masked_fill(~present_P_G, 0.0)
    raise ValueError(f"unknown advantage {name!r}")


def running_mean(previous: float | None, batch_mean: float, decay: float) -> float:
    """``b ← decay · b + (1 − decay) · mean(R)``; the batch's own mean where there was none before."""
    return batch_mean if previous is None else decay * previous + (1.0 - decay) * batch_mean
