from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo_tui.ops.kl import ESTIMATORS, k3, kl_term

LN2 = math.log(2)


def _f64(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "u", "value", "gradient"),
    [
        ("k1", LN2, 0.69314718, 1.0),
        ("k1", -LN2, -0.69314718, 1.0),
        # (ln 2)² / 2 = 0.24022651; gradient u
        ("k2", LN2, 0.24022651, 0.69314718),
        ("k2", -LN2, 0.24022651, -0.69314718),
        # e^{−ln 2} + ln 2 − 1 = 0.5 + 0.69314718 − 1; gradient 1 − e^{−u} = 0.5
        ("k3", LN2, 0.19314718, 0.5),
        # 2 − 0.69314718 − 1; gradient 1 − 2
        ("k3", -LN2, 0.30685282, -1.0),
        # ρ = 1.5: 1.5 · 0.19314718; gradient ρ (k3 + k3′) = 1.5 · 0.69314718
        ("k3_ratio", LN2, 0.28972077, 1.03972077),
        # 1.5 · 0.30685282; 1.5 · (0.30685282 − 1)
        ("k3_ratio", -LN2, 0.46027923, -1.03972077),
    ],
)
def test_worked_values_and_gradients(name: str, u: float, value: float, gradient: float) -> None:
    # Seen to fail with: the sign of u flipped in k3; the ½ of k2 left out; ρ detached in k3_ratio.
    logprobs = _f64(-1.0).requires_grad_()
    ratio = (logprobs - _f64(-1.0 - math.log(1.5))).exp()
    term = kl_term(name, logprobs, _f64(-1.0 - u), ratio)
    term.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logprobs.grad is not None
    assert term.item() == pytest.approx(value, abs=1e-8)
    assert logprobs.grad.item() == pytest.approx(gradient, abs=1e-8)


class Enumerated:
    """A policy, an anchor and a sampling policy on four tokens: every expectation is a sum of four terms."""

    def __init__(self) -> None:
        self.theta = _f64(0.3, -1.1, 0.8, 0.2).requires_grad_()
        self.anchor = torch.log_softmax(_f64(-0.4, 0.5, 0.1, 0.9), 0)
        self.behaviour = torch.log_softmax(_f64(0.1, -0.3, 0.2, 0.6), 0)

    @property
    def logprobs(self) -> Tensor:
        return torch.log_softmax(self.theta, 0)

    def reverse_kl(self) -> Tensor:
        """KL(π_θ ‖ π_anchor)."""
        return (self.logprobs.exp() * (self.logprobs - self.anchor)).sum()

    def forward_kl(self) -> Tensor:
        """KL(π_anchor ‖ π_θ)."""
        return (self.anchor.exp() * (self.anchor - self.logprobs)).sum()

    def estimate(self, name: str, old: Tensor | None = None) -> Tensor:
        """What averaging over samples from ``old`` (the policy itself if None) converges to; sampling has no gradient."""
        logprobs = self.logprobs
        sampled = logprobs.detach() if old is None else old
        return (sampled.exp() * kl_term(name, logprobs, self.anchor, (logprobs - sampled).exp())).sum()

    def gradient(self, of: Callable[[], Tensor]) -> Tensor:
        return torch.autograd.grad(of(), self.theta)[0]


@pytest.fixture
def exact() -> Enumerated:
    return Enumerated()


@pytest.mark.parametrize("name", ["k1", "k3", "k3_ratio"])
def test_unbiased_values(exact: Enumerated, name: str) -> None:
    # Seen to fail with: e^{u} instead of e^{−u} in k3.
    torch.testing.assert_close(exact.estimate(name), exact.reverse_kl(), rtol=0, atol=1e-14)


def test_k2_is_biased_as_a_value(exact: Enumerated) -> None:
    # Seen to fail with: k3 under the name of k2.
    assert abs(exact.estimate("k2").item() - exact.reverse_kl().item()) > 1e-3


def test_k1_as_a_loss_has_expected_gradient_zero(exact: Enumerated) -> None:
    # Seen to fail with: k2 under the name of k1.
    assert exact.gradient(lambda: exact.estimate("k1")).abs().max() < 1e-14


@pytest.mark.parametrize("name", ["k2", "k3_ratio"])
def test_reverse_kl_gradient(exact: Enumerated, name: str) -> None:
    # Seen to fail with: k3_ratio without its ratio; 2 u² in k2.
    actual = exact.gradient(lambda: exact.estimate(name))
    torch.testing.assert_close(actual, exact.gradient(exact.reverse_kl), rtol=0, atol=1e-14)


def test_k3_as_a_loss_has_the_gradient_of_the_other_direction(exact: Enumerated) -> None:
    # Seen to fail with: k3 multiplied by ρ.
    actual = exact.gradient(lambda: exact.estimate("k3"))
    torch.testing.assert_close(actual, exact.gradient(exact.forward_kl), rtol=0, atol=1e-14)
    # The two directions do differ here.
    assert (actual - exact.gradient(exact.reverse_kl)).abs().max() > 0.05


def test_k3_ratio_stays_exact_off_policy(exact: Enumerated) -> None:
    # Seen to fail with: k3_ratio without its ratio.
    estimate = exact.estimate("k3_ratio", old=exact.behaviour)
    torch.testing.assert_close(estimate, exact.reverse_kl(), rtol=0, atol=1e-14)
    actual = exact.gradient(lambda: exact.estimate("k3_ratio", old=exact.behaviour))
    torch.testing.assert_close(actual, exact.gradient(exact.reverse_kl), rtol=0, atol=1e-14)


@given(st.floats(-80, 80, width=32))
def test_k3_is_never_negative(u: float) -> None:
    # Seen to fail with: exp(−u) − 1 instead of expm1, and no clamp at 0.
    assert k3(torch.tensor(u, dtype=torch.float32)).item() >= 0.0
    assert k3(torch.tensor(u, dtype=torch.float64)).item() >= 0.0


@pytest.mark.parametrize("u", [1e-3, -1e-3, 1e-2, -1e-2])
def test_k3_keeps_its_digits_where_u_is_small(u: float) -> None:
    # Seen to fail with: exp(−u) − 1 instead of expm1.
    # u²/2 − u³/6 + u⁴/24; exp(−u) + u − 1 in float32 is wrong by 10 % at u = 1e-3
    expected = u**2 / 2 - u**3 / 6 + u**4 / 24
    assert k3(torch.tensor(u, dtype=torch.float32)).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["k2", "k3", "k3_ratio"])
def test_against_the_policy_itself_value_and_gradient_are_zero(name: str) -> None:
    # Seen to fail with: e^{−u} + u without the − 1.
    logprobs = _f64(-0.5, -3.0).requires_grad_()
    anchor = logprobs.detach().clone()
    term = kl_term(name, logprobs, anchor, (logprobs - anchor).exp())
    term.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert term.tolist() == [0.0, 0.0]
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [0.0, 0.0]


def test_every_estimator_is_tested() -> None:
    # Seen to fail with: an estimator added to the table.
    assert set(ESTIMATORS) == {"k1", "k2", "k3", "k3_ratio"}
