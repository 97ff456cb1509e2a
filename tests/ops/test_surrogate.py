from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from grpo_tui.ops.surrogate import (
    PolicyTerm,
    cispo_term,
    clipped_term,
    sapo_term,
    score_function_term,
    unclipped_term,
    vespo_term,
)

F64 = torch.float64


def _one(number: float) -> Tensor:
    return torch.tensor([[number]], dtype=F64)


class Worked:
    """One token with ρ = e^{ℓ − ℓ°}: its loss, d loss / dℓ, and where a bound acted."""

    def __init__(
        self, term: Callable[[Tensor, Tensor, Tensor], PolicyTerm], ratio: float, logprob: float = -2.0
    ) -> None:
        logprobs = _one(logprob).requires_grad_()
        rho = (logprobs - (logprob - math.log(ratio))).exp()
        result = term(rho, logprobs, logprobs)
        self.loss = result.loss_B_T.item()
        self.gradient = torch.autograd.grad(result.loss_B_T.sum(), logprobs)[0].item()
        self.low, self.high = result.clipped_low_B_T.item(), result.clipped_high_B_T.item()
        self.bounded = self.low or self.high


def _clipped(ratio: float, advantage: float, low: float, high: float, delta: float = 0.0) -> Worked:
    return Worked(
        lambda rho, _, logprobs: clipped_term(
            rho, _one(advantage), logprobs, clip_low=low, clip_high=high, clip_delta=delta
        ),
        ratio,
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "low", "high"),
    [
        # ε_low 0.2, ε_high 0.3: a swap of the two shows. The gradient by ℓ is −ρA or 0.
        # A > 0, above: min(1.5·2, 1.3·2) = 2.6, flat
        (1.5, 2.0, -2.6, 0.0, False, True),
        # A > 0, below: min(0.5·2, 0.8·2) = 1.0, on the ρ branch
        (0.5, 2.0, -1.0, -1.0, False, False),
        # A < 0, above: min(−3, −2.6) = −3, on the ρ branch
        (1.5, -2.0, 3.0, 3.0, False, False),
        # A < 0, below: min(−1, −1.6) = −1.6, flat
        (0.5, -2.0, 1.6, 0.0, True, False),
        # within the bounds: −ρ A
        (1.25, 2.0, -2.5, -2.5, False, False),
        (0.9, -2.0, 1.8, 1.8, False, False),
        (1.0, 2.0, -2.0, -2.0, False, False),
        (1.0, -2.0, 2.0, 2.0, False, False),
        # nothing to learn
        (1.5, 0.0, 0.0, 0.0, False, False),
        (0.5, 0.0, 0.0, 0.0, False, False),
    ],
)
def test_clip_quadrants(
    ratio: float, advantage: float, loss: float, gradient: float, low: bool, high: bool
) -> None:
    # Seen to fail with: maximum instead of minimum; ε_low and ε_high swapped; the flags of the two sides swapped.
    token = _clipped(ratio, advantage, 0.2, 0.3)
    assert token.loss == pytest.approx(loss, abs=1e-14)
    assert token.gradient == pytest.approx(gradient, abs=1e-14)
    assert (token.low, token.high) == (low, high)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "low", "high"),
    [
        # δ = 3 with ε = 0.2. A < 0 and beyond δ: 3 · 2, flat
        (4.0, -2.0, 6.0, 0.0, False, True),
        # A < 0 between 1.2 and δ: on the ρ branch
        (2.5, -2.0, 5.0, 5.0, False, False),
        # A > 0 is clipped at 1.2 as ever
        (4.0, 2.0, -2.4, 0.0, False, True),
        (2.5, 2.0, -2.4, 0.0, False, True),
        (0.5, -2.0, 1.6, 0.0, True, False),
        (0.5, 2.0, -1.0, -1.0, False, False),
        (4.0, 0.0, 0.0, 0.0, False, False),
    ],
)
def test_delta_bounds_the_branch_of_negative_advantages(
    ratio: float, advantage: float, loss: float, gradient: float, low: bool, high: bool
) -> None:
    # Seen to fail with: δ left out; its flag for A > 0 instead of A < 0.
    token = _clipped(ratio, advantage, 0.2, 0.2, 3.0)
    assert token.loss == pytest.approx(loss, abs=1e-14)
    assert token.gradient == pytest.approx(gradient, abs=1e-14)
    assert (token.low, token.high) == (low, high)


@pytest.mark.parametrize(("ratio", "advantage"), [(1.5, 2.0), (0.5, -2.0), (3.0, -2.0)])
def test_on_a_bound_the_gradient_still_flows_and_no_flag_is_set(ratio: float, advantage: float) -> None:
    # Seen to fail with: ≥ and ≤ for the flags.
    # ε = ½ and δ = 3, so that the bounds are exact numbers
    rho = _one(ratio).requires_grad_()
    advantages = _one(advantage)
    clipped = clipped_term(rho, advantages, _one(-1.0), clip_low=0.5, clip_high=0.5, clip_delta=3.0)
    capped = cispo_term(rho, advantages, _one(-1.0), cap=ratio)
    assert torch.autograd.grad(clipped.loss_B_T.sum(), rho)[0].item() == -advantage
    assert not any(term[side].item() for term in (clipped, capped) for side in (1, 2))


def test_clipping_is_without_delta_unless_asked_for() -> None:
    # Seen to fail with: a default δ of 3.
    term = clipped_term(_one(50.0), _one(-1.0), _one(-1.0), clip_low=0.2, clip_high=0.2)
    assert term.loss_B_T.item() == 50.0
    assert not term.clipped_high_B_T.item()


@given(
    st.floats(0.01, 10),
    st.integers(-50, 50).map(lambda n: n / 10),
    st.floats(0, 0.9),
    st.floats(0, 2),
    st.one_of(st.just(0.0), st.floats(3.1, 8)),
)
def test_the_flags_say_where_the_gradient_is_gone(
    ratio: float, advantage: float, low: float, high: float, delta: float
) -> None:
    # Seen to fail with: the upper flag without its condition on A; δ's flag left out.
    # On a bound, or a rounding away from it, the two branches are one number.
    assume(min(abs(ratio - bound) for bound in (1 - low, 1 + high, delta)) > 1e-9 or advantage == 0)
    token = _clipped(ratio, advantage, low, high, delta)
    expected = 0.0 if token.bounded else -ratio * advantage
    assert token.gradient == pytest.approx(expected, rel=1e-12)
    assert not (token.low and token.high)
    # The clipped objective is a lower bound of ρ A, but for what δ spares.
    if not delta:
        assert token.loss >= -ratio * advantage - 1e-12


@pytest.mark.parametrize("ratio", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("advantage", [2.0, -3.0, 0.0])
def test_unclipped_and_score_function(ratio: float, advantage: float) -> None:
    # Seen to fail with: the sign of either lost.
    surrogate = Worked(lambda rho, _, logprobs: unclipped_term(rho, _one(advantage), logprobs), ratio)
    assert surrogate.loss == pytest.approx(-ratio * advantage, abs=1e-13)
    assert surrogate.gradient == pytest.approx(-ratio * advantage, abs=1e-13)
    # ℓ = −2
    score = Worked(lambda rho, _, logprobs: score_function_term(_one(advantage), logprobs), ratio)
    assert score.loss == pytest.approx(2.0 * advantage, abs=1e-15)
    assert score.gradient == pytest.approx(-advantage, abs=1e-15)
    assert not surrogate.bounded
    assert not score.bounded


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "high"),
    [
        # ℓ = −2, cap 5: −min(ρ, 5) A ℓ, gradient −min(ρ, 5) A: the capped weight still teaches
        (0.01, 1.0, 0.02, -0.01, False),
        (3.0, 1.0, 6.0, -3.0, False),
        (8.0, 1.0, 10.0, -5.0, True),
        (8.0, -1.0, -10.0, 5.0, True),
        (8.0, 0.0, 0.0, 0.0, False),
    ],
)
def test_cispo_worked(ratio: float, advantage: float, loss: float, gradient: float, high: bool) -> None:
    # Seen to fail with: the weight not detached; the cap at 1 + cap; min for max.
    token = Worked(
        lambda rho, _, logprobs: cispo_term(rho, _one(advantage), logprobs, cap=5.0), ratio, logprob=-2.0
    )
    assert token.loss == pytest.approx(loss, abs=1e-14)
    assert token.gradient == pytest.approx(gradient, abs=1e-14)
    assert (token.low, token.high) == (False, high)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # τ⁺ = 2: −(4/2) σ(2(ρ − 1)) A and −4 σ (1 − σ) ρ A.
        # ρ = 1: σ = ½: −1, −1
        (1.0, 1.0, -1.0, -1.0),
        # ρ = 2: σ(2) = 0.88079708: −2 · 0.88079708 · 3; −4 · 0.88079708 · 0.11920292 · 2 · 3
        (2.0, 3.0, -5.28478247, -2.51984605),
        # τ⁻ = 1.05: ρ = 1: (4/1.05) · ½ = 1.9047619; gradient 1
        (1.0, -1.0, 1.90476190, 1.0),
        # ρ = 2: σ(1.05) = 0.74077490: 3.80952381 · 0.74077490 = 2.82199962; 4 · 0.74077490 · 0.25922510 · 2 = 1.53621958
        (2.0, -1.0, 2.82199962, 1.53621958),
        # A = 0 has nothing to learn
        (2.0, 0.0, 0.0, 0.0),
    ],
)
def test_sapo_worked(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    # Seen to fail with: τ⁺ and τ⁻ swapped; 2/τ; τ rounded to float32.
    token = Worked(
        lambda rho, _, logprobs: sapo_term(
            rho, _one(advantage), logprobs, tau_positive=2.0, tau_negative=1.05
        ),
        ratio,
    )
    assert token.loss == pytest.approx(loss, abs=1e-8)
    assert token.gradient == pytest.approx(gradient, abs=1e-8)
    assert not token.bounded


def test_numbers_chosen_by_sign_keep_their_digits() -> None:
    # Seen to fail with: torch.where of two Python numbers, which rounds them to float32 (4e-8 in τ = 1.05).
    advantages = torch.tensor([[-1.0]], dtype=F64)
    term = sapo_term(_one(1.0), advantages, _one(-1.0), tau_positive=1.0, tau_negative=1.05)
    assert term.loss_B_T.item() == pytest.approx(2 / 1.05, abs=1e-15)
    # φ(2) with k = λ = 0.1: e^{0.1 + 0.1 ln 2 − 0.2}
    term = vespo_term(_one(2.0), advantages, _one(-1.0), positive=(1.0, 1.0), negative=(0.1, 0.1))
    assert term.loss_B_T.item() == pytest.approx(-(2**0.1) * math.exp(-0.1), abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_every_term_has_the_dtype_of_the_log_probs(dtype: torch.dtype) -> None:
    # Seen to fail with: the numbers chosen by sign always in float64.
    ratio, advantages, logprobs = (torch.ones(2, 1, dtype=dtype) for _ in range(3))
    for term in (
        sapo_term(ratio, advantages, logprobs, tau_positive=1.0, tau_negative=1.05),
        vespo_term(ratio, advantages, logprobs, positive=(2, 3), negative=(3, 2)),
        cispo_term(ratio, advantages, logprobs, cap=5.0),
        clipped_term(ratio, advantages, logprobs, clip_low=0.2, clip_high=0.2),
    ):
        assert term.loss_B_T.dtype is dtype


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # ℓ = −2, (k, λ) = (2, 3) where A ≥ 0 and (3, 2) where A < 0; −φ A ℓ and −φ A.
        # φ(1) = 1
        (1.0, 1.0, 2.0, -1.0),
        (1.0, -1.0, -2.0, 1.0),
        # φ⁺(2) = 2² e^{3 − 6} = 4 · 0.04978707 = 0.19914827
        (2.0, 1.0, 0.39829655, -0.19914827),
        # φ⁻(2) = 2³ e^{2 − 4} = 8 · 0.13533528 = 1.08268227
        (2.0, -1.0, -2.16536453, 1.08268227),
        # φ⁺(½) = ¼ e^{1.5} = 1.12042227; φ⁻(½) = ⅛ e = 0.33978523
        (0.5, 1.0, 2.24084454, -1.12042227),
        (0.5, -1.0, -0.67957046, 0.33978523),
        (2.0, 0.0, 0.0, 0.0),
    ],
)
def test_vespo_worked(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    # Seen to fail with: k and λ swapped; e^λ left out; φ not detached.
    token = Worked(
        lambda rho, _, logprobs: vespo_term(rho, _one(advantage), logprobs, positive=(2, 3), negative=(3, 2)),
        ratio,
        logprob=-2.0,
    )
    assert token.loss == pytest.approx(loss, abs=1e-8)
    assert token.gradient == pytest.approx(gradient, abs=1e-8)
    assert not token.bounded


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("ratio", [0.0, 1e-30, 1e30, math.inf])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_vespo_far_off_policy_weighs_nothing_and_stays_finite(
    dtype: torch.dtype, ratio: float, advantage: float
) -> None:
    # Seen to fail with: log w not bounded below (0 · ∞), or above (∞ − ∞).
    term = vespo_term(
        torch.tensor([[ratio]], dtype=dtype),
        torch.tensor([[advantage]], dtype=dtype),
        torch.tensor([[-2.0]], dtype=dtype),
        positive=(2.0, 3.0),
        negative=(0.0, 2.0),
    )
    if ratio < 1 and advantage < 0:
        # With k = 0 nothing pulls φ down at w → 0: e^λ
        assert term.loss_B_T.item() == pytest.approx(-2.0 * math.exp(2), rel=1e-6)
    else:
        assert abs(term.loss_B_T.item()) < 1e-15


@pytest.mark.parametrize("ratio", [1e-20, 1e-9, 1e-8])
def test_vespo_takes_no_log_w_below_minus_twenty(ratio: float) -> None:
    # Seen to fail with: a bound of 21, or of 18.
    # (k, λ) = (0.1, 1): e^{1 + 0.1 max(ln w, −20)} with w ≈ 0
    term = vespo_term(_one(ratio), _one(1.0), _one(-1.0), positive=(0.1, 1.0), negative=(0.1, 1.0))
    expected = math.exp(1 + 0.1 * max(math.log(ratio), -20.0))
    assert term.loss_B_T.item() == pytest.approx(expected, rel=1e-7)


def test_each_row_has_its_own_advantage() -> None:
    # Seen to fail with: advantages broadcast over rows (their transpose).
    ratio, advantages = torch.full((2, 2), 1.1), torch.tensor([[1.0], [-3.0]])
    logprobs = torch.full((2, 2), -1.0)
    clipped = clipped_term(ratio, advantages, logprobs, clip_low=0.2, clip_high=0.2)
    assert clipped.loss_B_T.flatten().tolist() == pytest.approx([-1.1, -1.1, 3.3, 3.3])


def test_a_ratio_of_sequences_gives_every_token_its_loss_and_flag() -> None:
    # Seen to fail with: losses or flags left at one for a sequence.
    ratio, advantages = torch.tensor([[0.5], [2.0]]), torch.tensor([[-1.0], [1.0]])
    logprobs = torch.full((2, 3), -1.0)
    clipped = clipped_term(ratio, advantages, logprobs, clip_low=0.2, clip_high=0.2)
    assert clipped.clipped_low_B_T.tolist() == [[True] * 3, [False] * 3]
    assert clipped.clipped_high_B_T.tolist() == [[False] * 3, [True] * 3]
    for term in (
        clipped,
        unclipped_term(ratio, advantages, logprobs),
        score_function_term(advantages, logprobs),
        cispo_term(ratio, advantages, logprobs, cap=1.5),
        sapo_term(ratio, advantages, logprobs, tau_positive=1.0, tau_negative=1.0),
        vespo_term(ratio, advantages, logprobs, positive=(1, 1), negative=(1, 1)),
    ):
        assert [part.shape for part in term] == [(2, 3)] * 3
        assert (term.loss_B_T == term.loss_B_T[:, :1]).all()
