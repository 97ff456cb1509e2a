from __future__ import annotations

import pytest
import torch
from torch import Tensor

from grpo_tui.ops.aggregate import BatchSize, token_weights
from grpo_tui.ops.masking import completion_mask, masked_sum

NAMES = ["sequence_mean", "token_mean", "constant", "sequence_sum"]
F64 = torch.float64


def _loss(name: str, losses: Tensor, lengths: list[int], size: BatchSize) -> float:
    mask = completion_mask(torch.tensor(lengths), losses.shape[1])
    weights = token_weights(name, mask, size, F64)
    return float(masked_sum(weights * losses, mask))


@pytest.mark.parametrize(
    ("name", "weights", "loss"),
    [
        # Two completions of 1 and 3 tokens (so 4 tokens), limit 5; token losses 4 | 1, 2, 3.
        # 1/(2·1) | 1/(2·3): (4 + (1+2+3)/3) / 2 = 3
        ("sequence_mean", [[1 / 2, 0, 0], [1 / 6, 1 / 6, 1 / 6]], 3.0),
        # 1/4 each: 10 / 4
        ("token_mean", [[1 / 4, 0, 0], [1 / 4, 1 / 4, 1 / 4]], 2.5),
        # 1/(2·5) each: 10 / 10
        ("constant", [[1 / 10, 0, 0], [1 / 10, 1 / 10, 1 / 10]], 1.0),
        # 1/2 each: 10 / 2
        ("sequence_sum", [[1 / 2, 0, 0], [1 / 2, 1 / 2, 1 / 2]], 5.0),
    ],
)
def test_four_rows_worked(name: str, weights: list[list[float]], loss: float) -> None:
    mask = completion_mask(torch.tensor([1, 3]), 3)
    size = BatchSize(num_sequences=2, num_tokens=4.0, max_length=5)
    actual = token_weights(name, mask, size, F64)
    torch.testing.assert_close(actual, torch.tensor(weights, dtype=F64), rtol=0, atol=1e-15)
    losses = torch.tensor([[4.0, float("nan"), float("nan")], [1.0, 2.0, 3.0]], dtype=F64)
    assert _loss(name, losses, [1, 3], size) == pytest.approx(loss, abs=1e-14)


def test_equal_lengths() -> None:
    length, limit = 4, 10
    losses = torch.arange(12, dtype=F64).reshape(3, length) ** 2
    size = BatchSize(num_sequences=3, num_tokens=12.0, max_length=limit)
    value = {name: _loss(name, losses, [length] * 3, size) for name in NAMES}
    mean = losses.mean().item()
    assert value["sequence_mean"] == pytest.approx(mean, rel=1e-14)
    assert value["token_mean"] == pytest.approx(mean, rel=1e-14)
    assert value["constant"] == pytest.approx(mean * length / limit, rel=1e-14)
    assert value["sequence_sum"] == pytest.approx(mean * length, rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_any_split_sums_to_the_whole(name: str) -> None:
    lengths = [1, 5, 3, 2, 5, 4]
    losses = torch.randn(6, 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    size = BatchSize(num_sequences=6, num_tokens=20.0, max_length=8)
    whole = _loss(name, losses, lengths, size)
    for split in ([6], [3, 3], [1, 5], [1] * 6, [2, 1, 3]):
        total, start = 0.0, 0
        for rows in split:
            part = lengths[start : start + rows]
            # A microbatch is cut to its own longest row.
            total += _loss(name, losses[start : start + rows, : max(part)], part, size)
            start += rows
        assert total == pytest.approx(whole, abs=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_completion_weighs_nothing(name: str) -> None:
    weights = token_weights(name, completion_mask(torch.tensor([0, 2]), 2), BatchSize(2, 2.0, 4))
    assert weights[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("name", NAMES)
def test_dtype_is_the_one_asked_for(name: str) -> None:
    mask = completion_mask(torch.tensor([1, 2]), 2)
    assert token_weights(name, mask, BatchSize(2, 3.0, 4)).dtype is torch.float32
    assert token_weights(name, mask, BatchSize(2, 3.0, 4), F64).dtype is F64


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="unknown aggregation 'median'"):
        token_weights("median", torch.ones(1, 1, dtype=torch.bool), BatchSize(1, 1.0, 1))
