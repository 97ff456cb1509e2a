from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from grpo_tui.ops.surrogate import clipped_surrogate, token_ratio

NAN = float("nan")


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        # ε_low 0.2, ε_high 0.3: a swap of the two shows. The gradient is with respect to ρ.
        # A > 0, above: min(1.5·2, 1.3·2) = 2.6, flat
        (1.5, 2.0, -2.6, 0.0, True),
        # A > 0, below: min(0.5·2, 0.8·2) = 1.0, on the ρ branch
        (0.5, 2.0, -1.0, -2.0, False),
        # A < 0, above: min(−3, −2.6) = −3, on the ρ branch
        (1.5, -2.0, 3.0, 2.0, False),
        # A < 0, below: min(−1, −1.6) = −1.6, flat
        (0.5, -2.0, 1.6, 0.0, True),
        # within the bounds: −ρ A
        (1.25, 2.0, -2.5, -2.0, False),
        (0.9, -2.0, 1.8, 2.0, False),
        (1.0, 2.0, -2.0, -2.0, False),
        (1.0, -2.0, 2.0, 2.0, False),
        # nothing to learn
        (1.5, 0.0, 0.0, 0.0, False),
        (0.5, 0.0, 0.0, 0.0, False),
    ],
)
def test_value_gradient_and_flag(
    ratio: float, advantage: float, loss: float, gradient: float, clipped: bool
) -> None:
    rho = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    term = clipped_surrogate(rho, torch.tensor([[advantage]], dtype=torch.float64), 0.2, 0.3)
    term.loss_B_T.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert rho.grad is not None
    assert term.loss_B_T.item() == pytest.approx(loss, abs=1e-15)
    assert rho.grad.item() == pytest.approx(gradient, abs=1e-15)
    assert term.clipped_B_T.item() is clipped


def test_each_row_has_its_own_advantage() -> None:
    term = clipped_surrogate(torch.full((2, 2), 1.1), torch.tensor([[1.0], [-3.0]]), 0.2, 0.2)
    assert term.loss_B_T.flatten().tolist() == pytest.approx([-1.1, -1.1, 3.3, 3.3])


@given(st.floats(0.01, 10), st.integers(-50, 50).map(lambda n: n / 10), st.floats(0, 0.9), st.floats(0, 2))
def test_the_flag_says_where_the_gradient_is_gone(
    ratio: float, advantage: float, low: float, high: float
) -> None:
    # On a bound, or a rounding away from it, the two branches are one number.
    assume(min(abs(ratio - (1 - low)), abs(ratio - (1 + high))) > 1e-9 or advantage == 0)
    rho = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    term = clipped_surrogate(rho, torch.tensor([[advantage]], dtype=torch.float64), low, high)
    term.loss_B_T.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert rho.grad is not None
    assert rho.grad.item() == (0.0 if term.clipped_B_T.item() else -advantage)
    # The clipped objective is a lower bound of ρ A.
    assert term.loss_B_T.item() >= -ratio * advantage


def test_ratio_worked() -> None:
    logprobs = torch.tensor([[math.log(0.5), math.log(0.1)]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[math.log(0.25), math.log(0.4)]], dtype=torch.float64)
    ratio = token_ratio(logprobs, old, torch.ones(1, 2, dtype=torch.bool))
    # 0.5 / 0.25 and 0.1 / 0.4; dρ/dℓ = ρ
    assert ratio.flatten().tolist() == pytest.approx([2.0, 0.25], abs=1e-15)
    ratio.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logprobs.grad is not None
    assert logprobs.grad.flatten().tolist() == pytest.approx([2.0, 0.25], abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ratio_of_the_same_numbers_is_exactly_one(dtype: torch.dtype) -> None:
    logprobs = -10 * torch.rand(20, 30, dtype=dtype)
    assert (token_ratio(logprobs, logprobs.clone(), torch.ones(20, 30, dtype=torch.bool)) == 1.0).all()


def test_ratio_of_padding_is_one_without_gradient() -> None:
    logprobs = torch.tensor([[-1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    ratio = token_ratio(
        logprobs, torch.tensor([[-1.0, NAN]], dtype=torch.float64), torch.tensor([[True, False]])
    )
    assert ratio.tolist() == [[1.0, 1.0]]
    ratio.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[1.0, 0.0]]
