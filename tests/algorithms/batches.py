"""Batches for the tests of the losses: one worked by hand, one random and off-policy, one enumerated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from grpo_tui.algorithms import LossInputs, LossOutputs, policy_gradient_loss
from grpo_tui.config.algorithms import with_algorithm
from grpo_tui.config.schema import ALGORITHM_NAMES, AlgorithmConfig, RunConfig
from grpo_tui.ops.aggregate import BatchSize, kl_token_weights, token_weights
from grpo_tui.ops.kl import exact_kl
from grpo_tui.ops.logprobs import token_logprobs
from grpo_tui.ops.masking import completion_mask

F64 = torch.float64
NAN = float("nan")
LN2 = math.log(2)
NAMES = ALGORITHM_NAMES
AGGREGATIONS = (
    "sequence_mean",
    "token_mean",
    "token_mean_minibatch",
    "constant",
    "sequence_sum",
    "answer_sum",
)


def algorithm(name: str, **changes: Any) -> AlgorithmConfig:
    """The parts that the table gives the name, some of them changed."""
    return replace(with_algorithm(RunConfig(), name).algorithm, **changes)


def f64(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(rows, dtype=F64)


def gradient_of(outputs: LossOutputs, logprobs: Tensor) -> Tensor:
    return torch.autograd.grad(outputs.loss, logprobs, retain_graph=True)[0]


RATIOS = f64([[2.0, 1.0, 0.6655], [0.5, 1.62, NAN], [0.9, NAN, NAN]])
ADVANTAGES = (1.0, -2.0, 0.5)


class Worked:
    """Three completions of 3, 2 and 1 tokens.

    | row | A   | ρ              | product | mean | ℓ          | u = ℓ − ℓʳ     |
    |-----|-----|----------------|---------|------|------------|----------------|
    | 0   | +1  | 2, 1, 0.6655   | 1.331   | 1.1  | −1, −2, −3 | ln 2, 0, −ln 2 |
    | 1   | −2  | 0.5, 1.62      | 0.81    | 0.9  | −1.5, −0.5 | ln 2, ln 2     |
    | 2   | +½  | 0.9            | 0.9     | 0.9  | −2.5       | −ln 2          |

    M = 3 completions, N = 8 tokens as the even share of the rollout batch, 6 in this minibatch, L_max = 10.
    """

    size = BatchSize(num_sequences=3, num_tokens=8.0, max_length=10, num_minibatch_tokens=6.0)

    def __init__(
        self, config: AlgorithmConfig, advantages: Sequence[Sequence[float]] = ((1.0,), (-2.0,), (0.5,))
    ) -> None:
        mask = completion_mask(torch.tensor([3, 2, 1]), 3)
        self.logprobs = f64([[-1.0, -2.0, -3.0], [-1.5, -0.5, NAN], [-2.5, NAN, NAN]]).requires_grad_()
        u = f64([[LN2, 0.0, -LN2], [LN2, LN2, NAN], [-LN2, NAN, NAN]])
        self.outputs = policy_gradient_loss(
            LossInputs(
                config=config,
                logprobs_B_T=self.logprobs,
                old_logprobs_B_T=self.logprobs.detach() - RATIOS.log(),
                ref_logprobs_B_T=self.logprobs.detach() - u,
                advantages=f64(advantages),
                mask_B_T=mask,
                weights_B_T=token_weights(config.aggregation, mask, self.size, F64),
                kl_weights_B_T=kl_token_weights(config.aggregation, mask, self.size, F64),
            )
        )
        self.loss = self.outputs.loss.item()
        self.gradient = gradient_of(self.outputs, self.logprobs)


class Batch:
    """Six completions of uneven lengths over a vocabulary of five, as logits; off-policy unless asked otherwise."""

    lengths = torch.tensor([3, 1, 4, 2, 4, 3])
    size = BatchSize(num_sequences=6, num_tokens=20.0, max_length=9, num_minibatch_tokens=17.0)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.logits = torch.randn(6, 4, 5, dtype=F64, generator=generator)
        self.tokens = torch.randint(5, (6, 4), generator=generator)
        noise = 0.5 * torch.randn(2, 6, 4, 5, dtype=F64, generator=generator)
        self.old_logits, self.ref_logits = self.logits + noise
        self.advantages = f64([[1.0], [-0.5], [2.0], [-1.0], [0.0], [-2.0]])
        self.token_advantages = torch.randn(6, 4, dtype=F64, generator=generator)
        self.paddings: list[Tensor] = []

    def loss_and_gradient(
        self,
        config: AlgorithmConfig,
        *,
        order: Sequence[int] = range(6),
        split: Sequence[int] = (6,),
        extra_padding: int = 0,
        left: bool = False,
        on_policy: bool = False,
        junk: float = 0.0,
    ) -> tuple[float, Tensor]:
        """Loss and its gradient by the logits, summed over microbatches.

        Args:
            config: which loss.
            order: of the rows.
            split: rows of each microbatch, cut to its own longest row.
            extra_padding: slots added to each microbatch.
            left: padding on the left.
            on_policy: the old policy is the policy.
            junk: what every padded slot holds.
        """
        logits = self.logits.clone().requires_grad_()
        total, start = 0.0, 0
        for rows in split:
            part = torch.tensor(order[start : start + rows])
            start += rows
            outputs = self._microbatch(config, logits, part, extra_padding, left, on_policy, junk)
            outputs.loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
            total += outputs.loss.item()
            # A model's padded slots hang on its weights: no gradient may reach them, NaN least of all.
            assert all(padding.grad is None or (padding.grad == 0).all() for padding in self.paddings)
            self.paddings.clear()
        assert logits.grad is not None
        return total, logits.grad

    def outputs(self, config: AlgorithmConfig, *, on_policy: bool = False) -> tuple[LossOutputs, Tensor]:
        """Outputs of the whole batch, and the logits that they depend on."""
        logits = self.logits.clone().requires_grad_()
        return self._microbatch(config, logits, torch.arange(6), 0, False, on_policy, 0.0), logits

    def _microbatch(
        self,
        config: AlgorithmConfig,
        logits: Tensor,
        part: Tensor,
        extra_padding: int,
        left: bool,
        on_policy: bool,
        junk: float,
    ) -> LossOutputs:
        width = int(self.lengths[part].max()) + extra_padding
        source = completion_mask(self.lengths[part], 4)
        mask = completion_mask(self.lengths[part], width)
        if left:
            mask = mask.flip(1)

        def rectangle(values: Tensor) -> Tensor:
            padding = torch.full(mask.shape, junk, dtype=F64, requires_grad=values.requires_grad)
            self.paddings.append(padding)
            return padding.masked_scatter(mask, values[source])

        logprobs, old, ref = (
            token_logprobs(source_logits[part], self.tokens[part])[0]
            for source_logits in (logits, self.old_logits, self.ref_logits)
        )
        exact = None
        if config.kl_estimator == "exact":
            anchor = self.ref_logits if config.kl_anchor == "ref" else self.old_logits
            if config.kl_anchor == "old" and on_policy:
                anchor = logits.detach()
            exact = rectangle(exact_kl(logits[part], anchor[part]))
        outputs = policy_gradient_loss(
            LossInputs(
                config=config,
                logprobs_B_T=rectangle(logprobs),
                old_logprobs_B_T=rectangle(logprobs.detach() if on_policy else old),
                ref_logprobs_B_T=rectangle(ref),
                advantages=rectangle(self.token_advantages[part])
                if config.advantage == "gae"
                else self.advantages[part],
                mask_B_T=mask,
                weights_B_T=token_weights(config.aggregation, mask, self.size, F64),
                kl_weights_B_T=kl_token_weights(config.aggregation, mask, self.size, F64),
                exact_kl_B_T=exact,
            )
        )
        assert not (outputs.clipped_B_T & ~mask).any()
        assert torch.isfinite(outputs.ratio_B_T).all()
        return outputs


class Enumerated:
    """Every answer there is, one token over a vocabulary of four, weighted by its probability.

    So a loss is the expectation that averaging over samples converges to; sampling has no gradient.
    """

    def __init__(self, *, on_policy: bool) -> None:
        self.theta = torch.tensor([0.3, -1.1, 0.8, 0.2], dtype=F64, requires_grad=True)
        self.ref = torch.log_softmax(torch.tensor([-0.4, 0.5, 0.1, 0.9], dtype=F64), 0)
        other = torch.log_softmax(torch.tensor([0.1, -0.3, 0.2, 0.6], dtype=F64), 0)
        self.logprobs = torch.log_softmax(self.theta, 0)
        self.old = self.logprobs.detach() if on_policy else other
        self.rewards = torch.tensor([1.0, 0.0, 0.0, 2.0], dtype=F64)

    def expected_reward(self) -> Tensor:
        return (self.logprobs.exp() * self.rewards).sum()

    def kl(self, anchor: Tensor) -> Tensor:
        """KL(π_θ ‖ anchor)."""
        return (self.logprobs.exp() * (self.logprobs - anchor)).sum()

    def kl_from(self, anchor: Tensor) -> Tensor:
        """KL(anchor ‖ π_θ)."""
        return (anchor.exp() * (anchor - self.logprobs)).sum()

    def gradient(self, of: Tensor) -> Tensor:
        return torch.autograd.grad(of, self.theta, retain_graph=True)[0]

    def loss(self, config: AlgorithmConfig, *, rewarded: bool) -> LossOutputs:
        anchor = self.old if config.kl_anchor == "old" else self.ref
        weights = self.old.exp().unsqueeze(1)
        return policy_gradient_loss(
            LossInputs(
                config=config,
                logprobs_B_T=self.logprobs.unsqueeze(1),
                old_logprobs_B_T=self.old.unsqueeze(1),
                ref_logprobs_B_T=self.ref.unsqueeze(1),
                advantages=self.rewards.unsqueeze(1) * float(rewarded),
                mask_B_T=torch.ones(4, 1, dtype=torch.bool),
                weights_B_T=weights,
                kl_weights_B_T=weights,
                # The same at all four: the distribution before the token is one.
                exact_kl_B_T=self.kl(anchor).expand(4, 1) if config.kl_estimator == "exact" else None,
            )
        )
