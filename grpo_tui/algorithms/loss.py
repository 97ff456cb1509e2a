"""What a loss is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from grpo_tui.config.schema import AlgorithmConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """One microbatch. ``weights_B_T`` come from the whole minibatch, so microbatch losses simply add."""

    config: AlgorithmConfig
    logprobs_B_T: Tensor
    """ℓ, with gradient."""
    old_logprobs_B_T: Tensor
    """ℓ°: the policy as it was when it sampled. The same numbers as ℓ (detached) when on-policy."""
    ref_logprobs_B_T: Tensor | None
    """ℓʳ: adapter off. None when nothing needs it."""
    advantages_B: Tensor
    mask_B_T: Tensor
    weights_B_T: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOutputs:
    """The loss to differentiate, and what it measured. All but ``loss`` are detached."""

    loss: Tensor
    """Scalar: ``policy_loss + β · kl_loss``, this microbatch's share of the minibatch's."""
    policy_loss: Tensor
    kl_loss: Tensor
    """This microbatch's share of the aggregated KL term, before β."""
    clipped_B_T: Tensor
    """True where the clip acted, False in padded slots."""
    ratio_B_T: Tensor
