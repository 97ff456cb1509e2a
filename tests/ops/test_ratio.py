from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo_tui.ops.masking import completion_mask
from grpo_tui.ops.ratio import RATIOS, log_ratios, share_outside

NAN = float("nan")
F64 = torch.float64


def _value_and_gradient(name: str, weights: list[list[float]]) -> tuple[Tensor, list[list[float]]]:
    """Completions of 2 and 1 tokens with ρ = 4, 0.25·9 = 2.25 | 0.5; the gradient of Σ weights · ρ by ℓ."""
    old = torch.tensor([[-3.0, -2.0], [-1.0, NAN]], dtype=F64)
    rho = torch.tensor([[4.0, 2.25], [0.5, NAN]], dtype=F64)
    logprobs = (old + rho.log()).requires_grad_()
    mask = completion_mask(torch.tensor([2, 1]), 2)
    ratio = RATIOS[name](log_ratios(logprobs, old, mask), mask)
    (gradient,) = torch.autograd.grad((torch.tensor(weights, dtype=F64) * ratio).sum(), logprobs)
    return ratio, gradient.tolist()


def test_token_ratio_worked() -> None:
    # Seen to fail with: ℓ° − ℓ instead of ℓ − ℓ°.
    ratio, gradient = _value_and_gradient("token", [[1.0, 2.0], [3.0, 5.0]])
    # padding is 1 and has no gradient; dρ/dℓ = ρ
    torch.testing.assert_close(ratio, torch.tensor([[4.0, 2.25], [0.5, 1.0]], dtype=F64), rtol=0, atol=1e-14)
    assert gradient[0] == pytest.approx([4.0, 4.5], abs=1e-14)
    assert gradient[1] == pytest.approx([1.5, 0.0], abs=1e-14)


def test_sequence_mean_ratio_worked() -> None:
    # Seen to fail with: the padded width as the length.
    ratio, gradient = _value_and_gradient("sequence_mean", [[1.0], [3.0]])
    # √(4 · 2.25) = 3 and 0.5; dρ/dℓ_t = ρ / length
    torch.testing.assert_close(ratio, torch.tensor([[3.0], [0.5]], dtype=F64), rtol=0, atol=1e-14)
    assert gradient[0] == pytest.approx([1.5, 1.5], abs=1e-14)
    assert gradient[1] == pytest.approx([1.5, 0.0], abs=1e-14)


def test_sequence_product_ratio_worked() -> None:
    # Seen to fail with: the sum of log-ratios divided by the length.
    ratio, gradient = _value_and_gradient("sequence_product", [[1.0], [3.0]])
    # 4 · 2.25 = 9 and 0.5; dρ/dℓ_t = ρ
    torch.testing.assert_close(ratio, torch.tensor([[9.0], [0.5]], dtype=F64), rtol=0, atol=1e-14)
    assert gradient[0] == pytest.approx([9.0, 9.0], abs=1e-13)
    assert gradient[1] == pytest.approx([1.5, 0.0], abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", RATIOS)
def test_ratio_of_the_same_numbers_is_exactly_one(name: str, dtype: torch.dtype) -> None:
    # Seen to fail with: exp(ℓ) / exp(ℓ°), which rounds.
    logprobs = -10 * torch.rand(20, 30, dtype=dtype, generator=torch.Generator().manual_seed(0))
    mask = completion_mask(torch.arange(1, 21), 30)
    ratio = RATIOS[name](log_ratios(logprobs, logprobs.clone(), mask), mask)
    assert (ratio == 1.0).all()
    assert ratio.dtype is dtype


@pytest.mark.parametrize("junk", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("name", RATIOS)
def test_junk_in_padding_reaches_neither_value_nor_gradient(name: str, junk: float) -> None:
    # Seen to fail with: the difference taken before padding is zeroed.
    logprobs = torch.tensor([[-1.0, junk], [junk, junk]], dtype=F64, requires_grad=True)
    old = torch.tensor([[-1.0, junk], [-2.0, junk]], dtype=F64)
    mask = completion_mask(torch.tensor([1, 0]), 2)
    ratio = RATIOS[name](log_ratios(logprobs, old, mask), mask)
    assert (ratio == 1.0).all()
    (gradient,) = torch.autograd.grad(ratio.sum(), logprobs)
    assert gradient.tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("noise", "length", "low", "high", "share"),
    [
        # Σd has the deviation 0.01 · 32 = 0.32. ln 0.8 = −0.2231436, ln 1.2 = 0.1823216: z = −0.6973236 and 0.5697549.
        # Φ(−0.6973236) = 0.2428, 1 − Φ(0.5697549) = 0.2844
        (0.01, 1024, 0.2, 0.2, 0.5272),
        # Wider above: ln 1.5 = 0.4054651, z = 1.2670785, 1 − Φ = 0.1026; the lower tail as before
        (0.01, 1024, 0.2, 0.5, 0.3454),
        # ln 0.5 = −0.6931472, z = −2.1660849, Φ = 0.0152; the upper tail as in the first row
        (0.01, 1024, 0.5, 0.2, 0.2996),
        # a deviation of 0.01: 18 and more deviations away
        (0.01, 1, 0.2, 0.2, 0.0),
    ],
)
def test_share_outside_worked(noise: float, length: int, low: float, high: float, share: float) -> None:
    # Seen to fail with: the length not under a root; low and high swapped.
    assert share_outside(noise, length, low, high) == pytest.approx(share, abs=1e-4)


def test_share_outside_takes_the_usual_bounds() -> None:
    # Seen to fail with: a default of 0.3.
    assert share_outside(0.01, 1024) == share_outside(0.01, 1024, 0.2, 0.2)
    assert share_outside(0.01, 1024) == pytest.approx(0.53, abs=0.005)


@given(st.floats(1e-3, 0.1), st.integers(1, 4096), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_share_outside_is_a_share_that_grows_with_length(
    noise: float, length: int, low: float, high: float
) -> None:
    # Seen to fail with: division by the spread left out.
    share = share_outside(noise, length, low, high)
    assert 0.0 <= share <= share_outside(noise, 4 * length, low, high) <= 1.0
    if share > 1e-6:
        assert share < share_outside(noise, 4 * length, low, high)
