"""The policy-gradient loss of every algorithm in the table, put together from its parts.

    L = Σ_i Σ_t w_it [ term(ρ_it, A_it, ℓ_it) + β kl_it ]

with the ratio from :mod:`grpo_tui.ops.ratio`, the term from :mod:`grpo_tui.ops.surrogate`, kl from
:mod:`grpo_tui.ops.kl` and w from :mod:`grpo_tui.ops.aggregate`. Which parts an algorithm takes is a row of
:mod:`grpo_tui.config.algorithms`; this module knows no names. GRPO itself is DeepSeekMath (Shao et al., arXiv
2402.03300, equations 3 and 4).

Deviations from the papers:

* GRPO: the reference is the frozen base model (adapter off) for the whole run; the paper's outer iterations
  replace it.
* GRPO as outlined in textbooks (``grpo_basic``): its KL is taken of whole answers, as the sum of their tokens'.
* GSPO: the paper keeps its bounds (3e-4, 4e-4) for updates with several minibatches; so do we, and say when
  there is only one.
* CISPO: the cap is on ρ itself (``clip_high`` 5), as in TRL; the paper writes 1 + ε_high.
* DAPO: tokens are averaged over the whole rollout batch, as in TRL; equations 8 and 12 average over each question's group.
* LUSPO: bounds of .2 hardly ever act on a geometric mean; they are TRL's defaults, to be tightened (2e-3 or so) where a
  rollout batch gets several gradient steps.
* VESPO: log w is bounded to ±20 after the sum; TRL bounds each token's by 20 and the sum below by log 1e-8. φ is below
  1e-15 where they differ.
* PPO: no entropy bonus, and advantages are not whitened.
* RLOO and REINFORCE are on-policy methods: with several gradient steps a batch their ratio stays left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grpo_tui.algorithms.loss import LossInputs, LossOutputs
from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.ops.kl import kl_term
from grpo_tui.ops.masking import zero_where_masked
from grpo_tui.ops.ratio import RATIOS, log_ratios
from grpo_tui.ops.surrogate import (
    PolicyTerm,
    cispo_term,
    clipped_term,
    sapo_term,
    score_function_term,
    unclipped_term,
    vespo_term,
)


def policy_gradient_loss(inputs: LossInputs) -> LossOutputs:
    """Value of the loss for one microbatch, and what it measured."""
    config, mask = inputs.config, inputs.mask_B_T
    logprobs = zero_where_masked(inputs.logprobs_B_T, mask)
    differences = log_ratios(inputs.logprobs_B_T, inputs.old_logprobs_B_T, mask)
    advantages = inputs.advantages
    if advantages.shape[1] > 1:
        advantages = zero_where_masked(advantages, mask)
    # What is measured where the loss has no ratio (REINFORCE) is the token's.
    ratio = RATIOS["token" if config.ratio == "none" else config.ratio](differences, mask)
    term = policy_term(config, ratio, advantages, logprobs)
    policy_loss = (inputs.weights_B_T * zero_where_masked(term.loss_B_T, mask)).sum()
    kl_loss = _kl_loss(inputs, logprobs, differences.exp())
    return LossOutputs(
        loss=policy_loss if kl_loss is None else policy_loss + config.beta * kl_loss,
        policy_loss=policy_loss,
        kl_loss=torch.zeros_like(policy_loss) if kl_loss is None else kl_loss.detach(),
        clipped_low_B_T=term.clipped_low_B_T & mask,
        clipped_high_B_T=term.clipped_high_B_T & mask,
        ratio_B_T=ratio.detach().expand_as(mask),
    )


def policy_term(
    config: AlgorithmConfig, ratio: Tensor, advantages: Tensor, logprobs_B_T: Tensor
) -> PolicyTerm:
    """The policy term of each token, by the config's ratio and clip."""
    if config.ratio == "none":
        return score_function_term(advantages, logprobs_B_T)
    match config.clip:
        case "none":
            return unclipped_term(ratio, advantages, logprobs_B_T)
        case "bounds":
            return clipped_term(
                ratio,
                advantages,
                logprobs_B_T,
                clip_low=config.clip_low,
                clip_high=config.clip_high,
                clip_delta=config.clip_delta,
            )
        case "cispo":
            return cispo_term(ratio, advantages, logprobs_B_T, cap=config.clip_high)
        case "sapo":
            return sapo_term(
                ratio,
                advantages,
                logprobs_B_T,
                tau_positive=config.sapo_tau_positive,
                tau_negative=config.sapo_tau_negative,
            )
        case "vespo":
            return vespo_term(
                ratio,
                advantages,
                logprobs_B_T,
                positive=(config.vespo_k_positive, config.vespo_lambda_positive),
                negative=(config.vespo_k_negative, config.vespo_lambda_negative),
            )
    raise ValueError(f"unknown clip {config.clip!r}")


def _kl_loss(inputs: LossInputs, logprobs: Tensor, token_ratio: Tensor) -> Tensor | None:
    """The aggregated KL term before β; None where the loss has none."""
    config, mask = inputs.config, inputs.mask_B_T
    if config.beta == 0 or config.kl_in == "reward":
        return None
    if config.kl_estimator == "exact":
        if inputs.exact_kl_B_T is None:
            raise ValueError("the estimator 'exact' needs exact_kl_B_T")
        kl_B_T = inputs.exact_kl_B_T
    else:
        anchor = inputs.old_logprobs_B_T if config.kl_anchor == "old" else inputs.ref_logprobs_B_T
        if anchor is None:
            raise ValueError("KL to the reference needs ref_logprobs_B_T")
        kl_B_T = kl_term(config.kl_estimator, logprobs, zero_where_masked(anchor, mask), token_ratio)
    return (inputs.kl_weights_B_T * zero_where_masked(kl_B_T, mask)).sum()


def effective_weights(outputs: LossOutputs, logprobs_B_T: Tensor) -> Tensor:
    """``−∂L_policy/∂ℓ_t``, ``B_T``: how hard the update pushes each token, up where positive.

    For a clipped token ratio this is A × ρ × unclipped × aggregation weight; taken by differentiation, so that it is
    right for every term, the coupling of tokens through a sequence ratio included. Call it before the loss's own backward.
    """
    (gradient,) = torch.autograd.grad(outputs.policy_loss, logprobs_B_T, retain_graph=True)
    return -gradient
