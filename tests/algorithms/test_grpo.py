from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpo_tui.algorithms import LOSSES, LossInputs, LossOutputs
from grpo_tui.algorithms.grpo import grpo_loss
from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.ops.aggregate import BatchSize, token_weights
from grpo_tui.ops.logprobs import token_logprobs
from grpo_tui.ops.masking import completion_mask

F64 = torch.float64
NAN = float("nan")
LN2 = math.log(2)
AGGREGATIONS = ["sequence_mean", "token_mean", "constant", "sequence_sum"]
ESTIMATORS = ["k1", "k2", "k3", "k3_ratio"]


def _worked(config: AlgorithmConfig, aggregation: str = "sequence_mean") -> tuple[LossOutputs, Tensor]:
    """Two completions of 3 and 2 tokens.

    | row | A  | ρ             | u = ℓ − ℓʳ        |
    |-----|----|---------------|-------------------|
    | 0   | +1 | 1.5, 1.1, 0.5 | ln 2, 0, −ln 2    |
    | 1   | −2 | 0.5, 1.5, pad | ln 2, ln 2, pad   |
    """
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.5, -0.5, NAN]], dtype=F64, requires_grad=True)
    ratio = torch.tensor([[1.5, 1.1, 0.5], [0.5, 1.5, NAN]], dtype=F64)
    u = torch.tensor([[LN2, 0.0, -LN2], [LN2, LN2, NAN]], dtype=F64)
    mask = completion_mask(torch.tensor([3, 2]), 3)
    outputs = grpo_loss(
        LossInputs(
            config=config,
            logprobs_B_T=logprobs,
            old_logprobs_B_T=logprobs.detach() - ratio.log(),
            ref_logprobs_B_T=logprobs.detach() - u,
            advantages_B=torch.tensor([1.0, -2.0], dtype=F64),
            mask_B_T=mask,
            weights_B_T=token_weights(aggregation, mask, BatchSize(2, 5.0, 10), F64),
        )
    )
    outputs.loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logprobs.grad is not None
    return outputs, logprobs.grad


def test_value_and_gradient_by_hand() -> None:
    outputs, gradient = _worked(AlgorithmConfig(beta=0.1))
    # Policy, per token, ε = 0.2: −1.2 (clipped), −1.1, −0.5 | 1.6 (clipped), 3.0.
    # Weights 1/6 | 1/4: −2.8/6 + 4.6/4 = 0.6833333
    assert outputs.policy_loss.item() == pytest.approx(0.68333333, abs=1e-8)
    # k3: ln 2 − ½, 0, 1 − ln 2 | ln 2 − ½ twice: 0.5/6 + 2·0.19314718/4 = 0.08333333 + 0.09657359
    assert outputs.kl_loss.item() == pytest.approx(0.17990692, abs=1e-8)
    # 0.68333333 + 0.1 · 0.17990692
    assert outputs.loss.item() == pytest.approx(0.70132403, abs=1e-8)
    # dpolicy/dℓ = −ρA where not clipped: 0, −1.1, −0.5 | 0, 3.0. dk3/dℓ = 1 − e^{−u}: 0.5, 0, −1 | 0.5, 0.5.
    expected = [
        [0.05 / 6, -1.1 / 6, (-0.5 - 0.1) / 6],
        [0.05 / 4, (3.0 + 0.05) / 4, 0.0],
    ]
    torch.testing.assert_close(gradient, torch.tensor(expected, dtype=F64), rtol=0, atol=1e-12)
    assert outputs.clipped_B_T.tolist() == [[True, False, False], [True, False, False]]
    ratio = torch.tensor([[1.5, 1.1, 0.5], [0.5, 1.5, 1.0]], dtype=F64)
    torch.testing.assert_close(outputs.ratio_B_T, ratio, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("aggregation", "policy", "kl"),
    [
        # sums of the token losses: −2.8 and 4.6; of k3: 0.5 and 2 ln 2 − 1 = 0.38629436
        ("token_mean", 1.8 / 5, 0.88629436 / 5),
        ("constant", 1.8 / 20, 0.88629436 / 20),
        ("sequence_sum", 1.8 / 2, 0.88629436 / 2),
    ],
)
def test_other_aggregations_by_hand(aggregation: str, policy: float, kl: float) -> None:
    outputs, _ = _worked(AlgorithmConfig(beta=0.5), aggregation)
    assert outputs.policy_loss.item() == pytest.approx(policy, abs=1e-8)
    assert outputs.kl_loss.item() == pytest.approx(kl, abs=1e-8)
    assert outputs.loss.item() == pytest.approx(policy + 0.5 * kl, abs=1e-8)


@pytest.mark.parametrize(
    ("estimator", "kl", "kl_gradient"),
    [
        # k1: (ln 2 + 0 − ln 2)/6 + 2 ln 2/4; gradient 1
        ("k1", LN2 / 2, [[1 / 6, 1 / 6, 1 / 6], [1 / 4, 1 / 4, 0.0]]),
        # k2: 2·0.24022651/6 + 2·0.24022651/4; gradient u
        ("k2", 0.20018876, [[LN2 / 6, 0.0, -LN2 / 6], [LN2 / 4, LN2 / 4, 0.0]]),
        # ρ k3: (1.5·0.19314718 + 0.5·0.30685282)/6 + (0.5 + 1.5)·0.19314718/4; gradient ρ u
        (
            "k3_ratio",
            0.07385787 + 0.09657359,
            [[1.5 * LN2 / 6, 0.0, -0.5 * LN2 / 6], [0.5 * LN2 / 4, 1.5 * LN2 / 4, 0.0]],
        ),
    ],
)
def test_other_estimators_by_hand(estimator: str, kl: float, kl_gradient: list[list[float]]) -> None:
    outputs, gradient = _worked(AlgorithmConfig(beta=1.0, kl_estimator=estimator))
    assert outputs.kl_loss.item() == pytest.approx(kl, abs=1e-8)
    policy = torch.tensor([[0.0, -1.1 / 6, -0.5 / 6], [0.0, 0.75, 0.0]], dtype=F64)
    expected = policy + torch.tensor(kl_gradient, dtype=F64)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_low_and_high_bounds_are_not_swapped() -> None:
    outputs, _ = _worked(AlgorithmConfig(beta=0.0, clip_low=0.4, clip_high=0.6))
    # −1.5 (within 1.6), −1.1, −0.5 | min(−1, 0.6·−2) → 1.2 clipped, 3.0: −3.1/6 + 4.2/4
    assert outputs.loss.item() == pytest.approx(-3.1 / 6 + 4.2 / 4, abs=1e-12)
    assert outputs.clipped_B_T.tolist() == [[False, False, False], [True, False, False]]


def test_beta_zero_is_the_policy_term_alone() -> None:
    outputs, gradient = _worked(AlgorithmConfig(beta=0.0))
    assert outputs.loss.item() == outputs.policy_loss.item()
    assert outputs.kl_loss.item() == 0.0
    assert gradient[0, 0].item() == 0.0


def test_measurements_are_detached() -> None:
    outputs, _ = _worked(AlgorithmConfig())
    assert not any(t.requires_grad for t in (outputs.policy_loss, outputs.kl_loss, outputs.ratio_B_T))


class Batch:
    """Six completions of uneven lengths over a vocabulary of five, as logits."""

    lengths = torch.tensor([3, 1, 4, 2, 4, 3])

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.logits = torch.randn(6, 4, 5, dtype=F64, generator=generator)
        self.tokens = torch.randint(5, (6, 4), generator=generator)
        self.old = token_logprobs(self.logits + 0.5 * torch.randn(6, 4, 5, generator=generator), self.tokens)[
            0
        ]
        self.ref = token_logprobs(self.logits + 0.5 * torch.randn(6, 4, 5, generator=generator), self.tokens)[
            0
        ]
        self.advantages = torch.tensor([1.0, -0.5, 2.0, -1.0, 0.0, -2.0], dtype=F64)

    def loss_and_gradient(
        self,
        config: AlgorithmConfig,
        *,
        aggregation: str = "sequence_mean",
        order: list[int] | None = None,
        split: list[int] | None = None,
        extra_padding: int = 0,
        on_policy: bool = False,
        junk: float = 0.0,
    ) -> tuple[float, Tensor]:
        """Summed over the microbatches ``split`` of the rows in ``order``; padding holds ``junk``."""
        logits = self.logits.clone().requires_grad_()
        size = BatchSize(num_sequences=6, num_tokens=17.0, max_length=9)
        total, start = 0.0, 0
        indices = torch.tensor(order or range(6))
        for rows in split or [6]:
            part = indices[start : start + rows]
            start += rows
            width = int(self.lengths[part].max()) + extra_padding
            mask = completion_mask(self.lengths[part], width)
            logprobs, _ = token_logprobs(logits[part], self.tokens[part])

            def rectangle(
                values: Tensor, part: Tensor = part, width: int = width, mask: Tensor = mask
            ) -> Tensor:
                wide = torch.cat([values, torch.full((len(part), extra_padding), junk, dtype=F64)], dim=1)
                return torch.where(mask, wide[:, :width], junk)

            ours = rectangle(logprobs)
            outputs = LOSSES["grpo"](
                LossInputs(
                    config=config,
                    logprobs_B_T=ours,
                    old_logprobs_B_T=ours.detach() if on_policy else rectangle(self.old[part]),
                    ref_logprobs_B_T=rectangle(self.ref[part]),
                    advantages_B=self.advantages[part],
                    mask_B_T=mask,
                    weights_B_T=token_weights(aggregation, mask, size, F64),
                )
            )
            outputs.loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
            assert not (outputs.clipped_B_T & ~mask).any()
            assert torch.isfinite(outputs.ratio_B_T).all()
            total += outputs.loss.item()
        assert logits.grad is not None
        return total, logits.grad


@pytest.fixture
def batch() -> Batch:
    return Batch()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_order_padding_and_split_change_nothing(batch: Batch, aggregation: str, estimator: str) -> None:
    config = AlgorithmConfig(beta=0.3, kl_estimator=estimator)
    loss, gradient = batch.loss_and_gradient(config, aggregation=aggregation)
    assert gradient.abs().max() > 1e-3
    for order, split, padding, junk in [
        ([5, 3, 1, 0, 2, 4], None, 0, 0.0),
        (None, None, 7, -3.0),
        (None, None, 3, NAN),
        (None, None, 3, float("inf")),
        (None, None, 3, float("-inf")),
        (None, [1, 5], 0, 0.0),
        ([2, 0, 4, 5, 1, 3], [1, 2, 3], 2, NAN),
        (None, [1] * 6, 0, 0.0),
    ]:
        other_loss, other_gradient = batch.loss_and_gradient(
            config, aggregation=aggregation, order=order, split=split, extra_padding=padding, junk=junk
        )
        assert other_loss == pytest.approx(loss, abs=1e-14)
        torch.testing.assert_close(other_gradient, gradient, rtol=0, atol=1e-15)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_on_policy_gradient_is_that_of_reinforce(batch: Batch, aggregation: str, clip: float) -> None:
    """At ρ = 1: −Σ w A ∇ℓ, w only the normaliser."""
    config = AlgorithmConfig(beta=0.0, clip_low=clip, clip_high=clip)
    _, gradient = batch.loss_and_gradient(config, aggregation=aggregation, on_policy=True)
    logits = batch.logits.clone().requires_grad_()
    logprobs = torch.log_softmax(logits, -1).gather(-1, batch.tokens.unsqueeze(-1)).squeeze(-1)
    objective = torch.zeros((), dtype=F64)
    for row, length in enumerate(batch.lengths.tolist()):
        normaliser = {"sequence_mean": 6 * length, "token_mean": 17, "constant": 54, "sequence_sum": 6}[
            aggregation
        ]
        objective = objective - batch.advantages[row] * logprobs[row, :length].sum() / normaliser
    (expected,) = torch.autograd.grad(objective, logits)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-15)


def test_one_step_against_the_gradient_raises_the_better_answer(batch: Batch) -> None:
    """The sign, seen from outside: descending makes tokens of A > 0 likelier and of A < 0 unlikelier."""
    config = AlgorithmConfig(beta=0.0)
    _, gradient = batch.loss_and_gradient(config, on_policy=True)
    before, _ = token_logprobs(batch.logits, batch.tokens)
    after, _ = token_logprobs(batch.logits - 0.1 * gradient, batch.tokens)
    mask = completion_mask(batch.lengths, 4)
    for row, advantage in enumerate(batch.advantages.tolist()):
        change = (after - before)[row][mask[row]]
        assert (change * advantage > 0).all() if advantage else (change == 0).all()


def test_the_kl_term_pulls_towards_the_reference(batch: Batch) -> None:
    batch.advantages = torch.zeros(6, dtype=F64)
    config = AlgorithmConfig(beta=1.0, kl_estimator="k2")
    loss, gradient = batch.loss_and_gradient(config)
    moved = Batch()
    moved.advantages = batch.advantages
    moved.logits = batch.logits - 0.1 * gradient
    assert moved.loss_and_gradient(config)[0] < loss


def test_beta_scales_the_kl_term_alone(batch: Batch) -> None:
    base = AlgorithmConfig(beta=0.0)
    policy, policy_gradient = batch.loss_and_gradient(base)
    one, one_gradient = batch.loss_and_gradient(replace(base, beta=1.0))
    loss, gradient = batch.loss_and_gradient(replace(base, beta=0.25))
    assert loss == pytest.approx(policy + 0.25 * (one - policy), abs=1e-14)
    expected = policy_gradient + 0.25 * (one_gradient - policy_gradient)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-15)


def test_without_a_reference_there_is_no_kl_term() -> None:
    logprobs = torch.tensor([[-1.0]], dtype=F64, requires_grad=True)
    outputs = grpo_loss(
        LossInputs(
            config=AlgorithmConfig(beta=0.5),
            logprobs_B_T=logprobs,
            old_logprobs_B_T=logprobs.detach(),
            ref_logprobs_B_T=None,
            advantages_B=torch.tensor([2.0], dtype=F64),
            mask_B_T=torch.ones(1, 1, dtype=torch.bool),
            weights_B_T=torch.ones(1, 1, dtype=F64),
        )
    )
    assert outputs.loss.item() == -2.0
    assert outputs.kl_loss.item() == 0.0
