"""What a loss is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from grpo_tui.config.schema import AlgorithmConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """One microbatch. The weights come from the whole minibatch, so microbatch losses simply add."""

    config: AlgorithmConfig
    logprobs_B_T: Tensor
    """ℓ, with gradient."""
    old_logprobs_B_T: Tensor
    """ℓ°: the policy as it was when it sampled. The same numbers as ℓ (detached) when on-policy."""
    ref_logprobs_B_T: Tensor | None
    """ℓʳ: adapter off. None when nothing needs it."""
    advantages: Tensor
    """``B_1``, or ``B_T`` where tokens of one completion differ (``gae``)."""
    mask_B_T: Tensor
    weights_B_T: Tensor
    """Of the policy term."""
    kl_weights_B_T: Tensor
    """Of the KL term."""
    exact_kl_B_T: Tensor | None = None
    """KL over the whole vocabulary to the anchor, with gradient; needed by the estimator ``exact`` alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOutputs:
    """The loss to differentiate, and what it measured."""

    loss: Tensor
    """Scalar with gradient: ``policy_loss + β · kl_loss``, this microbatch's share of the minibatch's."""
    policy_loss: Tensor
    """Scalar with gradient: the policy term's share of it."""
    kl_loss: Tensor
    """This microbatch's share of the aggregated KL term, before β; detached."""
    clipped_low_B_T: Tensor
    clipped_high_B_T: Tensor
    ratio_B_T: Tensor
    """ρ at each token, of its completion where the ratio is one of sequences; detached."""

    @property
    def clipped_B_T(self) -> Tensor:
        """True where a bound acted, on either side."""
        return self.clipped_low_B_T | self.clipped_high_B_T
