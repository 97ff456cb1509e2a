"""Value functions: generalised advantage estimation, the clipped value loss, and how much a critic explains."""

from __future__ import annotations

import torch
from torch import Tensor

from grpo_tui.ops.masking import zero_where_masked


def gae_advantages(
    rewards_B_T: Tensor, values_B_T: Tensor, mask_B_T: Tensor, *, gamma: float, gae_lambda: float
) -> Tensor:
    """Generalised advantage estimation (Schulman et al., arXiv 1506.02438, equation 16).

    ``δ_t = r_t + γ V_{t+1} − V_t`` and ``A_t = δ_t + γ λ A_{t+1}``, with V = A = 0 after the last token: every
    completion is taken as an episode that ended, one that was cut at the limit as well.

    Args:
        rewards_B_T: reward received with each token (all 0 but the last one's, where no KL is paid).
        values_B_T: V of the state before each token.
        mask_B_T: tokens that count; contiguous from the left.
        gamma: discount.
        gae_lambda: λ.

    Returns:
        ``advantages_B_T``, 0 in padded slots.
    """
    rewards, values = zero_where_masked(rewards_B_T, mask_B_T), zero_where_masked(values_B_T, mask_B_T)
    advantages = torch.zeros_like(rewards)
    next_value = torch.zeros_like(rewards[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        # In padded slots everything is 0, so nothing flows from them into the last real token.
        next_advantage = (delta + gamma * gae_lambda * next_advantage) * mask_B_T[:, t]
        advantages[:, t] = next_advantage
        next_value = values[:, t]
    return advantages


def value_loss(values_B_T: Tensor, old_values_B_T: Tensor, returns_B_T: Tensor, clip: float) -> Tensor:
    """``½ max((V − G)², (V° + clip(V − V°, ±ε) − G)²)`` for each token; unclipped where ``clip`` is 0.

    The pessimistic value loss of PPO's reference implementation (openai/baselines, ppo2).
    """
    loss = (values_B_T - returns_B_T).square()
    if clip > 0:
        near = old_values_B_T + (values_B_T - old_values_B_T).clamp(-clip, clip)
        loss = torch.maximum(loss, (near - returns_B_T).square())
    return 0.5 * loss


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """``1 − Var(G − V) / Var(G)`` over the tokens given: 1 is perfect, 0 no better than a constant.

    NaN where the returns do not vary.
    """
    spread = float(returns.double().var(correction=0))
    if spread == 0.0:
        return float("nan")
    return 1.0 - float((returns - values).double().var(correction=0)) / spread
