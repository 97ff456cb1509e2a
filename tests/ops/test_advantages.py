from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.ops.advantages import ADVANTAGES, STABILISER, compute_advantages

ONE_OF_EIGHT = torch.tensor([[0, 0, 0, 1, 0, 0, 0, 0]], dtype=torch.float64)
rewards = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


def test_mean_of_one_right_in_eight() -> None:
    advantages = compute_advantages("mean", ONE_OF_EIGHT)[0].tolist()
    # mean 1/8: the right one has 1 − 1/8, the others −1/8
    assert advantages[3] == pytest.approx(0.875, abs=1e-15)
    assert advantages[0] == pytest.approx(-0.125, abs=1e-15)


def test_zscore_of_one_right_in_eight() -> None:
    advantages = compute_advantages("zscore", ONE_OF_EIGHT)[0].tolist()
    # Squared deviations (7/8)² + 7 (1/8)² = 0.875; over G − 1 = 7: 0.125; root 0.3535534; plus 1e-4: 0.3536534.
    # 0.875 / 0.3536534 = 2.474174, −0.125 / 0.3536534 = −0.353453.
    # (With G in the denominator it would be 2.645, without the stabiliser 2.474874.)
    assert advantages[3] == pytest.approx(2.474174, abs=1e-6)
    assert advantages[0] == pytest.approx(-0.353453, abs=1e-6)


def test_groups_do_not_mix() -> None:
    two = torch.tensor([[1.0, 0.0], [5.0, 1.0]], dtype=torch.float64)
    assert compute_advantages("mean", two).tolist() == [[0.5, -0.5], [2.0, -2.0]]
    # std of (1, 0) is 1/√2 = 0.7071068, of (5, 1) 4/√2 = 2.8284271
    expected = [[0.5 / 0.7072068, -0.5 / 0.7072068], [2 / 2.8285271, -2 / 2.8285271]]
    for row, numbers in zip(compute_advantages("zscore", two).tolist(), expected, strict=True):
        assert row == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize("name", ADVANTAGES)
@given(values=rewards)
def test_a_group_sums_to_zero(name: str, values: list[float]) -> None:
    advantages = compute_advantages(name, torch.tensor([values], dtype=torch.float64))
    assert abs(advantages.sum().item()) < 1e-6


@given(values=rewards, scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_zscore_ignores_scale_and_shift_up_to_the_stabiliser(
    values: list[float], scale: float, shift: float
) -> None:
    group = torch.tensor([values], dtype=torch.float64)
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
def test_mean_is_the_leave_one_out_baseline_up_to_its_factor(values: list[float]) -> None:
    group = torch.tensor([values], dtype=torch.float64)
    size = len(values)
    leave_one_out = group - (group.sum() - group) / (size - 1)
    torch.testing.assert_close(
        leave_one_out, compute_advantages("mean", group) * size / (size - 1), rtol=1e-12, atol=1e-11
    )


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, -2.7, 1e9])
@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_equal_rewards_give_exact_zeros(name: str, reward: float, size: int) -> None:
    advantages = compute_advantages(name, torch.full((2, size), reward, dtype=torch.float64))
    assert (advantages == 0).all()


@pytest.mark.parametrize("name", ADVANTAGES)
def test_a_mixed_group_beside_an_equal_one_keeps_its_advantages(name: str) -> None:
    both = torch.tensor([[0.1, 0.1, 0.1], [0.0, 1.0, 0.0]], dtype=torch.float64)
    advantages = compute_advantages(name, both)
    assert advantages[0].tolist() == [0, 0, 0]
    torch.testing.assert_close(advantages[1:], compute_advantages(name, both[1:]))
    assert advantages[1, 1] > 0 > advantages[1, 0]
