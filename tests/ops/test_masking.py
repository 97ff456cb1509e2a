from __future__ import annotations

import torch

from grpo_tui.ops.masking import completion_mask, masked_mean, masked_sum, zero_where_masked

NAN = float("nan")


def test_completion_mask_counts_positions() -> None:
    # Seen to fail with: ≤ instead of <.
    mask = completion_mask(torch.tensor([0, 1, 3]), 3)
    assert mask.dtype is torch.bool
    assert mask.tolist() == [[False, False, False], [True, False, False], [True, True, True]]


def test_sum_and_mean_count_masked_tokens_alone() -> None:
    # Seen to fail with: the mean over all slots.
    values = torch.tensor([[1.0, 2.0, NAN], [4.0, NAN, NAN]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    # 1 + 2 + 4 = 7 over three tokens, not over six slots or two rows
    assert masked_sum(values, mask).item() == 7.0
    assert masked_mean(values, mask).item() == 7.0 / 3.0


def test_mean_of_nothing_is_zero_and_of_one_is_itself() -> None:
    # Seen to fail with: the clamp of the count left out, or at 2.
    assert masked_mean(torch.full((2, 2), NAN), torch.zeros(2, 2, dtype=torch.bool)).item() == 0.0
    assert masked_mean(torch.tensor([[3.0, NAN]]), torch.tensor([[True, False]])).item() == 3.0


def test_neither_value_nor_gradient_of_padding_passes() -> None:
    # Seen to fail with: values multiplied by the mask.
    values = torch.tensor([[1.0, NAN, float("inf")]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, False, False]])
    kept = zero_where_masked(values, mask)
    assert kept.tolist() == [[1.0, 0.0, 0.0]]
    (kept * kept).sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert values.grad is not None
    assert values.grad.tolist() == [[2.0, 0.0, 0.0]]


def test_gradient_of_the_mean() -> None:
    # Seen to fail with: the mean over rows.
    values = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    masked_mean(values, torch.tensor([[True, True, False]])).backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert values.grad is not None
    assert values.grad.tolist() == [[0.5, 0.5, 0.0]]
