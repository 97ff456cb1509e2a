"""GRPO (Shao et al., DeepSeekMath, arXiv 2402.03300, equations 3 and 4).

    L = Σ_i Σ_t w_it [ −min(ρ_it A_i, clip(ρ_it, 1−ε_low, 1+ε_high) A_i) + β kl_it ],

with w from the aggregation (paper: mean over a completion's tokens, then over completions) and kl the k3
estimate of KL to the reference.

Deviations from the paper: none in the loss. A different advantage, clip, estimator or aggregation is the
user's choice through :class:`~grpo_tui.config.schema.AlgorithmConfig`; the reference is the frozen base model
(adapter off) for the whole run, where the paper's outer iterations replace it.
"""

from __future__ import annotations

import torch

from grpo_tui.algorithms.loss import LossInputs, LossOutputs
from grpo_tui.ops.kl import kl_term
from grpo_tui.ops.masking import zero_where_masked
from grpo_tui.ops.surrogate import clipped_surrogate, token_ratio


def grpo_loss(inputs: LossInputs) -> LossOutputs:
    """Value of the loss for one microbatch, and what it measured."""
    config, mask = inputs.config, inputs.mask_B_T
    logprobs = zero_where_masked(inputs.logprobs_B_T, mask)
    ratio = token_ratio(logprobs, inputs.old_logprobs_B_T, mask)
    policy = clipped_surrogate(ratio, inputs.advantages_B.unsqueeze(1), config.clip_low, config.clip_high)
    policy_loss = (inputs.weights_B_T * zero_where_masked(policy.loss_B_T, mask)).sum()
    kl_loss = torch.zeros_like(policy_loss)
    if inputs.ref_logprobs_B_T is not None and config.beta > 0:
        ref_logprobs = zero_where_masked(inputs.ref_logprobs_B_T, mask)
        kl_B_T = kl_term(config.kl_estimator, logprobs, ref_logprobs, ratio)
        kl_loss = (inputs.weights_B_T * zero_where_masked(kl_B_T, mask)).sum()
    return LossOutputs(
        loss=policy_loss + config.beta * kl_loss,
        policy_loss=policy_loss.detach(),
        kl_loss=kl_loss.detach(),
        clipped_B_T=policy.clipped_B_T & mask,
        ratio_B_T=ratio.detach(),
    )
