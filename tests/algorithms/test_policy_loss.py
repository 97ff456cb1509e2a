"""What a loss reports beside its value, and the weight that each token gets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpo_tui.algorithms import LossInputs, effective_weights, policy_gradient_loss
from grpo_tui.algorithms.policy_loss import policy_term
from grpo_tui.ops.aggregate import BatchSize, token_weights
from tests.algorithms.batches import F64, NAMES, RATIOS, Worked, algorithm, f64


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ("token", [[2.0, 1.0, 0.6655], [0.5, 1.62, 1.0], [0.9, 1.0, 1.0]]),
        ("sequence_mean", [[1.1] * 3, [0.9] * 3, [0.9] * 3]),
        ("sequence_product", [[1.331] * 3, [0.81] * 3, [0.9] * 3]),
        # not used by the loss, and measured all the same
        ("none", [[2.0, 1.0, 0.6655], [0.5, 1.62, 1.0], [0.9, 1.0, 1.0]]),
    ],
)
def test_ratios_reported(ratio: str, expected: list[list[float]]) -> None:
    # Seen to fail with: the token's ratio reported always.
    outputs = Worked(algorithm("grpo", ratio=ratio)).outputs
    torch.testing.assert_close(outputs.ratio_B_T, f64(expected), rtol=0, atol=1e-14)


def test_clipped_is_told_by_side_and_for_real_tokens_alone() -> None:
    # Seen to fail with: the flags not masked; low and high swapped.
    # GSPO's bounds: 1.1 > 1.0004 with A > 0, 0.9 < 0.9997 with A < 0, 0.9 with A > 0
    outputs = Worked(algorithm("gspo")).outputs
    assert outputs.clipped_high_B_T.tolist() == [[True] * 3, [False] * 3, [False] * 3]
    assert outputs.clipped_low_B_T.tolist() == [[False] * 3, [True, True, False], [False] * 3]
    assert outputs.clipped_B_T.tolist() == [[True] * 3, [True, True, False], [False] * 3]


@pytest.mark.parametrize("name", NAMES)
def test_measurements_are_detached(name: str) -> None:
    # Seen to fail with: kl_loss or the ratio not detached.
    outputs = Worked(algorithm(name, beta=0.1, kl_in="loss")).outputs
    assert not outputs.kl_loss.requires_grad
    assert not outputs.ratio_B_T.requires_grad
    assert outputs.policy_loss.requires_grad
    assert outputs.loss.requires_grad


@pytest.mark.parametrize(
    ("estimator", "anchor", "missing"),
    [
        ("k3", "ref", "ref_logprobs_B_T"),
        ("exact", "ref", "exact_kl_B_T"),
        ("exact", "old", "exact_kl_B_T"),
    ],
)
def test_a_kl_term_without_what_it_needs_is_an_error(estimator: str, anchor: str, missing: str) -> None:
    # Seen to fail with: no KL term where there is no anchor, without a word.
    logprobs = f64([[-1.0]]).requires_grad_()
    inputs = LossInputs(
        config=algorithm("grpo", beta=0.5, kl_estimator=estimator, kl_anchor=anchor),
        logprobs_B_T=logprobs,
        old_logprobs_B_T=logprobs.detach(),
        ref_logprobs_B_T=None,
        advantages=f64([[2.0]]),
        mask_B_T=torch.ones(1, 1, dtype=torch.bool),
        weights_B_T=torch.ones(1, 1, dtype=F64),
        kl_weights_B_T=torch.ones(1, 1, dtype=F64),
    )
    with pytest.raises(ValueError, match=missing):
        policy_gradient_loss(inputs)
    assert policy_gradient_loss(replace(inputs, config=algorithm("grpo", beta=0.0))).loss.item() == -2.0


def test_kl_to_old_needs_no_reference() -> None:
    # Seen to fail with: no reference taken as no KL term.
    logprobs = f64([[-1.0]]).requires_grad_()
    outputs = policy_gradient_loss(
        LossInputs(
            config=algorithm("grpo", beta=0.5, kl_estimator="k1", kl_anchor="old"),
            logprobs_B_T=logprobs,
            old_logprobs_B_T=f64([[-1.5]]),
            ref_logprobs_B_T=None,
            advantages=f64([[0.0]]),
            mask_B_T=torch.ones(1, 1, dtype=torch.bool),
            weights_B_T=torch.ones(1, 1, dtype=F64),
            kl_weights_B_T=torch.full((1, 1), 3.0, dtype=F64),
        )
    )
    # 0.5 · 3 · (−1 + 1.5)
    assert outputs.loss.item() == pytest.approx(0.75, abs=1e-15)
    assert outputs.kl_loss.item() == pytest.approx(1.5, abs=1e-15)


def test_unknown_clip() -> None:
    # Seen to fail with: anything unknown taken as none.
    one = f64([[1.0]])
    with pytest.raises(ValueError, match="unknown clip 'hard'"):
        policy_term(replace(algorithm("grpo"), clip="hard"), one, one, one)


def test_effective_weights_of_a_clipped_token_ratio() -> None:
    """A × ρ × unclipped × the aggregation's weight."""
    # Seen to fail with: the sign; the KL term's gradient included.
    worked = Worked(algorithm("grpo", beta=5.0))
    weights = effective_weights(worked.outputs, worked.logprobs)
    mask = RATIOS == RATIOS
    aggregated = token_weights("sequence_mean", mask, BatchSize(3, 8.0, 10), F64)
    product = f64([[1.0], [-2.0], [0.5]]) * RATIOS.nan_to_num() * ~worked.outputs.clipped_B_T * aggregated
    torch.testing.assert_close(weights, product, rtol=0, atol=1e-15)
    # by hand: ρA/9 | ρA/6 | ρA/3 where not clipped
    by_hand = [[0.0, 1 / 9, 0.6655 / 9], [0.0, -3.24 / 6, 0.0], [0.15, 0.0, 0.0]]
    torch.testing.assert_close(weights, f64(by_hand), rtol=0, atol=1e-14)


def _moved(name: str, row: int, token: int, step: float) -> float:
    """The policy term with one log-prob moved."""
    start = f64([[-1.0, -2.0, -3.0], [-1.5, -0.5, 0.0], [-2.5, 0.0, 0.0]])
    logprobs = start.clone()
    logprobs[row, token] += step
    mask = RATIOS == RATIOS
    config = algorithm(name, beta=0.0)
    outputs = policy_gradient_loss(
        LossInputs(
            config=config,
            logprobs_B_T=logprobs,
            old_logprobs_B_T=start - RATIOS.log(),
            ref_logprobs_B_T=None,
            # Turned, so that the narrow bounds of gspo do not act.
            advantages=f64([[-1.0], [2.0], [0.5]]),
            mask_B_T=mask,
            weights_B_T=token_weights(config.aggregation, mask, Worked.size, F64),
            kl_weights_B_T=token_weights(config.aggregation, mask, Worked.size, F64),
        )
    )
    return outputs.policy_loss.item()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("cispo", "vespo")])
def test_effective_weights_against_finite_differences(name: str) -> None:
    """Of all terms without a stop-gradient: the coupling of tokens through a sequence's ratio is in them."""
    # Seen to fail with: the mean ratio with the gradient of the product; a gradient of the whole loss.
    worked = Worked(algorithm(name), [[-1.0], [2.0], [0.5]])
    weights = effective_weights(worked.outputs, worked.logprobs)
    assert weights.abs().max() > 1e-2
    for row, length in enumerate((3, 2, 1)):
        assert (weights[row, length:] == 0).all()
        for token in range(length):
            slope = (_moved(name, row, token, 1e-5) - _moved(name, row, token, -1e-5)) / 2e-5
            assert weights[row, token].item() == pytest.approx(-slope, abs=1e-9)


@pytest.mark.parametrize("name", ["cispo", "vespo"])
def test_effective_weights_where_the_weight_is_a_constant(name: str) -> None:
    """The weight times A times the aggregation's: ρ for CISPO (no cap acts), φ(w) for VESPO."""
    # Seen to fail with: the weight not detached.
    worked = Worked(algorithm(name))
    w = f64([[1.331], [0.81], [0.9]])
    phi = torch.cat([w[:1] ** 2 * (3 - 3 * w[:1]).exp(), w[1:2] ** 3 * (2 - 2 * w[1:2]).exp()])
    phi = torch.cat([phi, w[2:] ** 2 * (3 - 3 * w[2:]).exp()])
    factor: Tensor = RATIOS if name == "cispo" else phi.expand(3, 3)
    expected = (f64([[1.0], [-2.0], [0.5]]) * factor / 8).masked_fill(RATIOS != RATIOS, 0.0)
    weights = effective_weights(worked.outputs, worked.logprobs)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-14)


def test_effective_weights_leave_the_loss_to_be_differentiated() -> None:
    # Seen to fail with: the graph not kept.
    worked = Worked(algorithm("gspo"))
    first = effective_weights(worked.outputs, worked.logprobs)
    assert torch.equal(effective_weights(worked.outputs, worked.logprobs), first)
    worked.outputs.loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert worked.logprobs.grad is not None
    torch.testing.assert_close(worked.logprobs.grad, -first, rtol=0, atol=1e-15)
