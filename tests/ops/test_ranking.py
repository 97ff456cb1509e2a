from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.ops.ranking import bradley_terry_loss, num_ordered

F64 = torch.float64
LN3 = math.log(3)


def loss_and_gradients(right: list[float], wrong: list[float]) -> tuple[float, list[float], list[float]]:
    right_R = torch.tensor(right, dtype=F64, requires_grad=True)
    wrong_W = torch.tensor(wrong, dtype=F64, requires_grad=True)
    loss = bradley_terry_loss(right_R, wrong_W)
    to_right, to_wrong = torch.autograd.grad(loss, (right_R, wrong_W))
    return loss.item(), to_right.tolist(), to_wrong.tolist()


def test_one_pair() -> None:
    # margin ln 3: σ = 3/4, so the loss is ln 4/3 and the gradient −σ(−ln 3) = −1/4 to the right one
    loss, to_right, to_wrong = loss_and_gradients([2 + LN3], [2.0])
    assert loss == pytest.approx(math.log(4 / 3))
    assert to_right == pytest.approx([-0.25])
    assert to_wrong == pytest.approx([0.25])


def test_one_pair_in_the_wrong_order() -> None:
    # margin −ln 3: σ = 1/4, the loss is ln 4, the gradient −3/4
    loss, to_right, to_wrong = loss_and_gradients([0.0], [LN3])
    assert loss == pytest.approx(math.log(4))
    assert to_right == pytest.approx([-0.75])
    assert to_wrong == pytest.approx([0.75])


def test_all_pairs_of_a_problem_count_alike() -> None:
    # margins: ln 3 − 0 and ln 3 − ln 3. Loss: (ln 4/3 + ln 2) / 2. Right: −(1/4 + 1/2) / 2; wrong: 1/8 and 1/4.
    loss, to_right, to_wrong = loss_and_gradients([LN3], [0.0, LN3])
    assert loss == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert to_right == pytest.approx([-0.375])
    assert to_wrong == pytest.approx([0.125, 0.25])


def test_far_apart_scores_stay_finite() -> None:
    loss, to_right, _ = loss_and_gradients([-500.0], [500.0])
    assert loss == pytest.approx(1000.0)
    assert to_right == pytest.approx([-1.0])
    assert loss_and_gradients([500.0], [-500.0])[0] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ([2.0], [1.0], 1.0),
        ([1.0], [2.0], 0.0),
        ([1.0], [1.0], 0.5),
        # 3 beats 1, 2 and ties with 3; 1 ties with 1 and loses twice
        ([3.0, 1.0], [1.0, 2.0, 3.0], 2.5 + 0.5),
        ([], [1.0], 0.0),
        ([1.0], [], 0.0),
    ],
)
def test_pairs_in_order(right: list[float], wrong: list[float], expected: float) -> None:
    assert num_ordered(right, wrong) == expected


SCORES = st.lists(st.integers(-3, 3).map(float), max_size=8)


@given(SCORES, SCORES)
def test_every_pair_is_in_order_one_way_or_the_other(right: list[float], wrong: list[float]) -> None:
    assert num_ordered(right, wrong) + num_ordered(wrong, right) == len(right) * len(wrong)
    assert num_ordered(right, wrong) == sum((r > w) + (r == w) / 2 for r in right for w in wrong)
