from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo_tui.ops.trust_region import Trial, conjugate_gradient, line_search, step_scale

F64 = torch.float64
NAN = float("nan")


def _vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=F64)


def test_conjugate_gradient_worked() -> None:
    # Seen to fail with: β = old/new instead of new/old; r + α M p.
    # M = diag(1, 4), b = (1, 1): α₀ = 2/5, x₁ = (0.4, 0.4), r₁ = (0.6, −0.6), β = 0.72/2 = 0.36, p = (0.96, −0.24);
    # α₁ = 0.72 / (0.9216 + 0.2304) = 0.625, x₂ = (0.4 + 0.6, 0.4 − 0.15) = (1, 0.25)
    diagonal = _vector(1.0, 4.0)
    one = conjugate_gradient(lambda v: diagonal * v, _vector(1.0, 1.0), 1)
    torch.testing.assert_close(one, _vector(0.4, 0.4), rtol=0, atol=1e-15)
    two = conjugate_gradient(lambda v: diagonal * v, _vector(1.0, 1.0), 2)
    torch.testing.assert_close(two, _vector(1.0, 0.25), rtol=0, atol=1e-15)


@given(st.integers(1, 8), st.integers(0, 1000))
def test_conjugate_gradient_solves_in_as_many_steps_as_there_are_dimensions(size: int, seed: int) -> None:
    # Seen to fail with: the search direction restarted as r in every step.
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, size, dtype=F64, generator=generator)
    matrix = factor @ factor.T + torch.eye(size, dtype=F64)
    b = torch.randn(size, dtype=F64, generator=generator)
    x = conjugate_gradient(lambda v: matrix @ v, b, iterations=size + 2, tolerance=1e-24)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-9)


class Counting:
    """A diagonal matrix that counts its products."""

    def __init__(self, *diagonal: float) -> None:
        self.diagonal = _vector(*diagonal)
        self.products = 0

    def __call__(self, v: Tensor) -> Tensor:
        self.products += 1
        return self.diagonal * v


def test_no_more_products_than_allowed() -> None:
    # Seen to fail with: one product more.
    matrix = Counting(1, 2, 3, 4, 5, 6)
    conjugate_gradient(matrix, torch.ones(6, dtype=F64), 3)
    assert matrix.products == 3


def test_it_stops_when_the_residual_is_small() -> None:
    # Seen to fail with: the tolerance times 1 instead of times ‖b‖²; squared < target.
    matrix = Counting(2, 2, 2)
    x = conjugate_gradient(matrix, 1e9 * torch.ones(3, dtype=F64), 50)
    assert matrix.products == 1
    assert x.tolist() == [5e8] * 3
    # After one product ‖r‖² / ‖b‖² is 0.72 / 2 = 0.36 (the worked matrix): above 0.35, below 0.37.
    for tolerance, products in [(0.35, 2), (0.37, 1)]:
        matrix = Counting(1, 4)
        conjugate_gradient(matrix, _vector(1e3, 1e3), 50, tolerance)
        assert matrix.products == products


def test_nothing_is_solved_for_a_zero_right_hand_side() -> None:
    # Seen to fail with: no stop at a residual of 0, and so 0/0.
    matrix = Counting(1, 2)
    assert conjugate_gradient(matrix, _vector(0, 0), 10).tolist() == [0, 0]
    assert matrix.products == 0


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_direction_without_curvature_ends_it_with_what_is_found(bad: float) -> None:
    # Seen to fail with: curvature < 0 instead of ≤ 0; the break left out.
    assert conjugate_gradient(Counting(bad, bad), _vector(1.0, 2.0), 5).tolist() == [0.0, 0.0]
    # M = diag(1, 0) and b = (1, 1): α₀ = 2, x₁ = (2, 2); then r = (−1, 1), p = (−1, 1) + (2/2)(1, 1) = (0, 2): no curvature
    found = conjugate_gradient(Counting(1.0, 0.0), _vector(1.0, 1.0), 5)
    assert found.tolist() == [2.0, 2.0]


def test_the_right_hand_side_is_left_as_it_is() -> None:
    # Seen to fail with: x updated in place of b (x = b at the start).
    b = _vector(1.0, 1.0)
    conjugate_gradient(Counting(1, 4), b, 5)
    assert b.tolist() == [1.0, 1.0]


def test_step_scale_fills_the_quadratic_model() -> None:
    # Seen to fail with: δ instead of 2δ; no root; no step at a curvature below 1.
    # s = (1, 2), M = diag(2, 0.5): sᵀMs = 2 + 2 = 4; √(2 · 0.02 / 4) = 0.1
    step = _vector(1.0, 2.0)
    product = _vector(2.0, 1.0)
    scale = step_scale(step, product, 0.02)
    assert scale == pytest.approx(0.1, abs=1e-15)
    # √(2 · 0.01 / 0.5)
    assert step_scale(_vector(1.0), _vector(0.5), 0.01) == pytest.approx(0.2, abs=1e-15)
    assert 0.5 * float((scale * step).dot(scale * product)) == pytest.approx(0.02, abs=1e-15)


@pytest.mark.parametrize("curvature", [0.0, -1.0, NAN])
def test_no_step_without_curvature(curvature: float) -> None:
    # Seen to fail with: curvature ≥ 0 instead of > 0.
    assert step_scale(_vector(1.0), _vector(curvature), 0.01) == 0.0


@pytest.mark.parametrize(
    ("kl", "gain", "accepted"),
    [
        (0.01, 1e-12, True),
        (0.005, 1.0, True),
        (0.0100001, 1.0, False),
        (0.005, 0.0, False),
        (0.005, -1.0, False),
        (NAN, 1.0, False),
        (0.005, NAN, False),
        (math.inf, 1.0, False),
    ],
)
def test_a_trial_is_accepted_inside_the_region_and_where_it_gains(
    kl: float, gain: float, accepted: bool
) -> None:
    # Seen to fail with: gain ≥ 0; kl < limit; or instead of and.
    assert Trial(scale=1.0, kl=kl, gain=gain).accepted(0.01) is accepted


def test_line_search_takes_the_longest_step_that_is_accepted() -> None:
    # Seen to fail with: shrinking by 1 − shrink; the last trial taken instead of the first accepted.
    def measure(scale: float) -> Trial:
        # quadratic KL 0.04 s², within 0.01 for s ≤ 0.5; a gain for all s below 0.7
        return Trial(scale=scale, kl=0.04 * scale**2, gain=0.7 * scale - scale**2)

    found, trials = line_search(measure, 0.01, 0.8, 10)
    assert found is not None
    # 1, 0.8, 0.64, 0.512 (KL 0.0105), 0.4096 (KL 0.0067)
    assert [t.scale for t in trials] == pytest.approx([1.0, 0.8, 0.64, 0.512, 0.4096], abs=1e-15)
    assert found is trials[-1]


def test_line_search_gives_up() -> None:
    # Seen to fail with: one try more; the last trial given although refused.
    def measure(scale: float) -> Trial:
        return Trial(scale=scale, kl=1.0, gain=1.0)

    found, trials = line_search(measure, 0.01, 0.5, 3)
    assert found is None
    assert [t.scale for t in trials] == [1.0, 0.5, 0.25]
