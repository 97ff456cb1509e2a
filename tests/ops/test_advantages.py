from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo_tui.ops.advantages import GROUP_RELATIVE, STABILISER, compute_advantages, running_mean

NAN = float("nan")
F64 = torch.float64
ALL_NAMES = [*GROUP_RELATIVE, "none", "ema"]
rewards = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


def _f64(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=F64)


ONE_OF_EIGHT = _f64([[0, 0, 0, 1, 0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        # The group's mean is 1/8: the right one has 1 − 1/8, the others −1/8.
        ("mean", 0.875, -0.125),
        # Squared deviations (7/8)² + 7 (1/8)² = 0.875; over G − 1 = 7: 0.125; root 0.3535534; plus 1e-4: 0.3536534.
        # 0.875 / 0.3536534 = 2.474174, −0.125 / 0.3536534 = −0.353453.
        # (With G in the denominator it would be 2.645, without the stabiliser 2.474874.)
        ("zscore", 2.474174, -0.353453),
        # The others' mean is 0 for the right one, 1/7 for the others.
        ("leave_one_out", 1.0, -1 / 7),
        # One group is the whole batch here: as zscore.
        ("batch", 2.474174, -0.353453),
        ("none", 1.0, 0.0),
        # 1 − 0.25 and 0 − 0.25
        ("ema", 0.75, -0.25),
    ],
)
def test_one_right_in_eight(name: str, right: float, wrong: float) -> None:
    # Seen to fail with: G instead of G − 1 in the deviation; the baseline of ema added instead of subtracted.
    advantages = compute_advantages(name, ONE_OF_EIGHT, baseline=0.25)[0].tolist()
    assert advantages[3] == pytest.approx(right, abs=1e-6)
    assert advantages[:3] + advantages[4:] == pytest.approx([wrong] * 7, abs=1e-6)


def test_groups_do_not_mix() -> None:
    # Seen to fail with: the group's mean taken over dim 0.
    two = _f64([[1.0, 0.0], [5.0, 1.0]])
    assert compute_advantages("mean", two).tolist() == [[0.5, -0.5], [2.0, -2.0]]
    # std of (1, 0) is 1/√2 = 0.7071068, of (5, 1) 4/√2 = 2.8284271
    expected = _f64([[0.5 / 0.7072068, -0.5 / 0.7072068], [2 / 2.8285271, -2 / 2.8285271]])
    torch.testing.assert_close(compute_advantages("zscore", two), expected, rtol=0, atol=1e-6)


def test_batch_divides_by_the_deviation_of_all_rewards() -> None:
    # Seen to fail with: std over the centred rewards instead of the rewards.
    # 1, 0, 5, 1: mean 1.75; squares 0.5625 + 3.0625 + 10.5625 + 0.5625 = 14.75; over 3: 4.9166667; root 2.2173558
    advantages = compute_advantages("batch", _f64([[1.0, 0.0], [5.0, 1.0]]))
    expected = _f64([[0.5, -0.5], [2.0, -2.0]]) / 2.2174558
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", GROUP_RELATIVE)
@given(values=rewards)
def test_a_group_sums_to_zero(name: str, values: list[float]) -> None:
    # Seen to fail with: the group's mean divided by G + 1.
    advantages = compute_advantages(name, _f64([values]))
    assert abs(advantages.sum().item()) < 1e-6


@given(values=rewards, scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_zscore_ignores_scale_and_shift_up_to_the_stabiliser(
    values: list[float], scale: float, shift: float
) -> None:
    # Seen to fail with: division by the variance instead of its root.
    group = _f64([values])
    std = group.std().item()
    if std * min(1.0, scale) < 1e-2:
        return
    before = compute_advantages("zscore", group)
    after = compute_advantages("zscore", scale * group + shift)
    # The stabiliser changes each by a factor of at most 1 + 1e-4 / std.
    bound = 1.01 * STABILISER / (std * min(1.0, scale))
    torch.testing.assert_close(after, before, rtol=bound, atol=1e-9)
    assert ((after > 1e-9) <= (before > 0)).all()


@given(values=rewards)
def test_leave_one_out_is_the_mean_baseline_up_to_its_factor(values: list[float]) -> None:
    # Seen to fail with: the factor (G − 1)/G instead of G/(G − 1).
    group, size = _f64([values]), len(values)
    others = group - (group.sum() - group) / (size - 1)
    actual = compute_advantages("leave_one_out", group)
    torch.testing.assert_close(actual, others, rtol=1e-12, atol=1e-11)
    mean = compute_advantages("mean", group)
    torch.testing.assert_close(actual, mean * size / (size - 1), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", GROUP_RELATIVE)
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, -2.7, 1e9])
@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_equal_rewards_give_exact_zeros(name: str, reward: float, size: int) -> None:
    # Seen to fail with: exact_zeros left out; all groups compared with the first one's reward.
    advantages = compute_advantages(name, _f64([[reward] * size, [reward + 0.3] * size]))
    assert (advantages == 0).all()


@pytest.mark.parametrize("name", GROUP_RELATIVE)
def test_a_mixed_group_beside_an_equal_one_keeps_its_advantages(name: str) -> None:
    # Seen to fail with: all zeros as soon as one group has equal rewards.
    both = _f64([[0.1, 0.1, 0.1], [0.0, 1.0, 0.0]])
    advantages = compute_advantages(name, both)
    assert advantages[0].tolist() == [0, 0, 0]
    assert advantages[1, 1] > 0 > advantages[1, 0]
    if name != "batch":
        torch.testing.assert_close(advantages[1:], compute_advantages(name, both[1:]))


@pytest.mark.parametrize("name", ["none", "ema"])
def test_without_a_group_equal_rewards_still_teach(name: str) -> None:
    # Seen to fail with: exact_zeros applied to every advantage.
    assert compute_advantages(name, _f64([[1.0, 1.0]]), baseline=-1.0).tolist() == [
        [2.0 if name == "ema" else 1.0] * 2
    ]
    # The baseline is 0 unless one is given.
    assert compute_advantages(name, _f64([[1.0, 1.0]])).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("junk", [0.0, 7.0, NAN, math.inf])
@pytest.mark.parametrize("name", ALL_NAMES)
def test_groups_of_unequal_size(name: str, junk: float) -> None:
    # Seen to fail with: absent slots counted in the group's mean; their advantages not set to 0.
    ragged = _f64([[1.0, 0.0, 0.0, 1.0], [3.0, junk, junk, 1.0]])
    present = torch.tensor([[True] * 4, [True, False, False, True]])
    advantages = compute_advantages(name, ragged, present, baseline=0.5)
    assert advantages[1, 1:3].tolist() == [0.0, 0.0]
    if name == "batch":
        # 1, 0, 0, 1, 3, 1: mean 1; squares 0 + 1 + 1 + 0 + 4 + 0 = 6; over 5: 1.2; root 1.0954451
        torch.testing.assert_close(
            advantages, _f64([[0.5, -0.5, -0.5, 0.5], [1, 0, 0, -1]]) / 1.0955451, rtol=0, atol=1e-7
        )
        return
    torch.testing.assert_close(advantages[:1], compute_advantages(name, ragged[:1], baseline=0.5))
    small = compute_advantages(name, _f64([[3.0, 1.0]]), baseline=0.5)
    torch.testing.assert_close(advantages[1:, [0, 3]], small)


@pytest.mark.parametrize("name", GROUP_RELATIVE)
def test_groups_with_one_completion_or_none_carry_no_signal(name: str) -> None:
    # Seen to fail with: exact_zeros comparing absent slots too.
    ragged = _f64([[NAN, 5.0, NAN], [NAN, NAN, NAN], [1.0, 0.0, 1.0]])
    present = torch.tensor([[False, True, False], [False] * 3, [True] * 3])
    advantages = compute_advantages(name, ragged, present)
    assert advantages[:2].tolist() == [[0.0] * 3] * 2
    assert torch.isfinite(advantages).all()
    assert advantages[2, 0] > 0


def test_unknown_name() -> None:
    # Seen to fail with: anything unknown taken as none.
    with pytest.raises(ValueError, match="unknown advantage 'gae'"):
        compute_advantages("gae", ONE_OF_EIGHT)


def test_running_mean() -> None:
    # Seen to fail with: decay and 1 − decay swapped.
    assert running_mean(None, 0.5, 0.9) == 0.5
    # 0.9 · 2 + 0.1 · 3
    assert running_mean(2.0, 3.0, 0.9) == pytest.approx(2.1, abs=1e-15)
    # A mean of 0 is a mean.
    assert running_mean(0.0, 1.0, 0.9) == pytest.approx(0.1, abs=1e-15)
