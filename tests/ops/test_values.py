from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from grpo_tui.ops.masking import completion_mask
from grpo_tui.ops.values import explained_variance, gae_advantages, value_loss

NAN = float("nan")
F64 = torch.float64


def _f64(numbers: list[list[float]]) -> Tensor:
    return torch.tensor(numbers, dtype=F64)


def test_gae_worked() -> None:
    # Seen to fail with: γ left out of δ; λ left out; the loop run from the left.
    # γ = 0.9, λ = 0.5, so γλ = 0.45. Row 0: r = 0, 1, 2; V = 1, 2, 4.
    # δ = 0 + 0.9·2 − 1 = 0.8, 1 + 0.9·4 − 2 = 2.6, 2 − 4 = −2
    # A₂ = −2, A₁ = 2.6 − 0.9 = 1.7, A₀ = 0.8 + 0.765 = 1.565
    # Row 1: r = 1, 3; V = 2, 1: δ = 1 + 0.9 − 2 = −0.1, 3 − 1 = 2; A₁ = 2, A₀ = −0.1 + 0.9 = 0.8
    advantages = gae_advantages(
        _f64([[0.0, 1.0, 2.0], [1.0, 3.0, NAN]]),
        _f64([[1.0, 2.0, 4.0], [2.0, 1.0, NAN]]),
        completion_mask(torch.tensor([3, 2]), 3),
        gamma=0.9,
        gae_lambda=0.5,
    )
    torch.testing.assert_close(advantages, _f64([[1.565, 1.7, -2.0], [0.8, 2.0, 0.0]]), rtol=0, atol=1e-14)


def test_gae_of_one_token() -> None:
    # Seen to fail with: the starting value taken from the second token.
    one = gae_advantages(
        _f64([[3.0]]), _f64([[1.0]]), completion_mask(torch.tensor([1]), 1), gamma=0.9, gae_lambda=0.5
    )
    assert one.tolist() == [[2.0]]


def _random() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    rewards, values = torch.randn(2, 4, 7, dtype=F64, generator=generator)
    return rewards, values, completion_mask(torch.tensor([7, 1, 4, 6]), 7)


def test_with_lambda_and_gamma_one_it_is_the_return_less_the_value() -> None:
    # Seen to fail with: A_t + V_t instead of A_t carried on.
    rewards, values, mask = _random()
    advantages = gae_advantages(rewards, values, mask, gamma=1.0, gae_lambda=1.0)
    for row, length in enumerate(mask.sum(1).tolist()):
        for t in range(length):
            expected = rewards[row, t:length].sum() - values[row, t]
            assert advantages[row, t].item() == pytest.approx(expected.item(), abs=1e-13)


def test_with_lambda_zero_it_is_the_temporal_difference() -> None:
    # Seen to fail with: the value of the state before instead of after.
    rewards, values, mask = _random()
    advantages = gae_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.0)
    for row, length in enumerate(mask.sum(1).tolist()):
        for t in range(length):
            after = values[row, t + 1].item() if t + 1 < length else 0.0
            expected = rewards[row, t].item() + 0.9 * after - values[row, t].item()
            assert advantages[row, t].item() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("junk", [-3.0, NAN, math.inf])
def test_gae_does_not_see_padding(junk: float) -> None:
    # Seen to fail with: values not zeroed in padding.
    rewards, values, mask = _random()
    expected = gae_advantages(rewards, values, mask, gamma=0.99, gae_lambda=0.95)
    assert (expected[~mask] == 0).all()
    wide = completion_mask(mask.sum(1), 10)
    rewards, values = (
        torch.full((4, 10), junk, dtype=F64).masked_scatter(wide, t[mask]) for t in (rewards, values)
    )
    actual = gae_advantages(rewards, values, wide, gamma=0.99, gae_lambda=0.95)
    assert torch.equal(actual[:, :7], expected)
    assert (actual[:, 7:] == 0).all()


@pytest.mark.parametrize(
    ("value", "old", "target", "loss", "gradient"),
    [
        # ε = 0.2. Within the clip both are the same: ½ (1.1 − 2)² = 0.405, gradient V − G
        (1.1, 1.0, 2.0, 0.405, -0.9),
        # V moved towards G beyond the clip: near = 1.2, ½ · 0.8² = 0.32 > ½ · 0.5² = 0.125, flat
        (1.5, 1.0, 2.0, 0.32, 0.0),
        # V moved away beyond the clip: near = 0.8, ½ · 1.2² = 0.72 < ½ · 1.5² = 1.125, gradient −1.5
        (0.5, 1.0, 2.0, 1.125, -1.5),
        # G below: away, near = 1.2, ½ · 1.2² < ½ · 1.5²
        (1.5, 1.0, 0.0, 1.125, 1.5),
        # towards it, near = 0.8
        (0.5, 1.0, 0.0, 0.32, 0.0),
    ],
)
def test_clipped_value_loss_worked(
    value: float, old: float, target: float, loss: float, gradient: float
) -> None:
    # Seen to fail with: minimum instead of maximum; the ½ left out.
    values = _f64([[value]]).requires_grad_()
    actual = value_loss(values, _f64([[old]]), _f64([[target]]), 0.2)
    assert actual.item() == pytest.approx(loss, abs=1e-14)
    (grad,) = torch.autograd.grad(actual.sum(), values)
    assert grad.item() == pytest.approx(gradient, abs=1e-14)


def test_a_clip_of_zero_is_no_clip() -> None:
    # Seen to fail with: clip ≥ 0 instead of clip > 0.
    values = _f64([[1.5, -3.0]]).requires_grad_()
    loss = value_loss(values, _f64([[1.0, 1.0]]), _f64([[2.0, 1.0]]), 0.0)
    # ½ · 0.5², ½ · 4²; V − G
    assert loss.tolist() == [[0.125, 8.0]]
    assert torch.autograd.grad(loss.sum(), values)[0].tolist() == [[-0.5, -4.0]]


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([1.0, 2.0, 3.0, 6.0], 1.0),
        # a constant explains nothing, whatever its level
        ([5.0, 5.0, 5.0, 5.0], 0.0),
        # G − V = 0, 0, 0, 2 and G = 1, 2, 3, 6: variances 3/4 and 14/4
        ([1.0, 2.0, 3.0, 4.0], 1 - 3 / 14),
        # worse than a constant: G − V = 2 G
        ([-1.0, -2.0, -3.0, -6.0], -3.0),
    ],
)
def test_explained_variance_worked(values: list[float], share: float) -> None:
    # Seen to fail with: the variance of V instead of that of G in the denominator.
    returns = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert explained_variance(torch.tensor(values), returns) == pytest.approx(share, abs=1e-7)


def test_explained_variance_of_one_token_or_of_equal_returns_is_unknown() -> None:
    # Seen to fail with: 0 instead of NaN; Bessel's correction.
    assert math.isnan(explained_variance(torch.tensor([1.0]), torch.tensor([2.0])))
    assert math.isnan(explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0])))
