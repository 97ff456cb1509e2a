from __future__ import annotations

import pytest
import torch
from torch import Tensor

from grpo_tui.ops.aggregate import BatchSize, kl_token_weights, token_weights
from grpo_tui.ops.masking import completion_mask, masked_sum

NAMES = ["sequence_mean", "token_mean", "token_mean_minibatch", "constant", "sequence_sum", "answer_sum"]
F64 = torch.float64


def _loss(name: str, losses: Tensor, lengths: list[int], size: BatchSize) -> float:
    mask = completion_mask(torch.tensor(lengths), losses.shape[1])
    weights = token_weights(name, mask, size, F64)
    return float(masked_sum(weights * losses, mask))


@pytest.mark.parametrize(
    ("name", "weights", "loss"),
    [
        # Two completions of 1 and 3 tokens (so 4 tokens in this minibatch), 5 tokens as the even share of the
        # rollout batch, limit 10; token losses 4 | 1, 2, 3.
        # 1/(2·1) | 1/(2·3): (4 + (1+2+3)/3) / 2 = 3
        ("sequence_mean", [[1 / 2, 0, 0], [1 / 6, 1 / 6, 1 / 6]], 3.0),
        # 1/5 each: 10 / 5
        ("token_mean", [[1 / 5, 0, 0], [1 / 5, 1 / 5, 1 / 5]], 2.0),
        # 1/4 each: 10 / 4
        ("token_mean_minibatch", [[1 / 4, 0, 0], [1 / 4, 1 / 4, 1 / 4]], 2.5),
        # 1/(2·10) each: 10 / 20
        ("constant", [[1 / 20, 0, 0], [1 / 20, 1 / 20, 1 / 20]], 0.5),
        # 1/2 each: 10 / 2
        ("sequence_sum", [[1 / 2, 0, 0], [1 / 2, 1 / 2, 1 / 2]], 5.0),
        # 1/1 | 1/3: 4 + 6/3
        ("answer_sum", [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], 6.0),
    ],
)
def test_six_rows_worked(name: str, weights: list[list[float]], loss: float) -> None:
    # Seen to fail with: M left out of sequence_mean; max_length of constant left out; the two token counts swapped.
    mask = completion_mask(torch.tensor([1, 3]), 3)
    size = BatchSize(num_sequences=2, num_tokens=5.0, max_length=10, num_minibatch_tokens=4.0)
    actual = token_weights(name, mask, size, F64)
    torch.testing.assert_close(actual, torch.tensor(weights, dtype=F64), rtol=0, atol=1e-15)
    losses = torch.tensor([[4.0, float("nan"), float("nan")], [1.0, 2.0, 3.0]], dtype=F64)
    assert _loss(name, losses, [1, 3], size) == pytest.approx(loss, abs=1e-14)


def test_equal_lengths() -> None:
    # Seen to fail with: sequence_sum not divided by M.
    length, limit = 4, 10
    losses = torch.arange(12, dtype=F64).reshape(3, length) ** 2
    size = BatchSize(num_sequences=3, num_tokens=12.0, max_length=limit, num_minibatch_tokens=12.0)
    value = {name: _loss(name, losses, [length] * 3, size) for name in NAMES}
    mean = losses.mean().item()
    assert value["sequence_mean"] == pytest.approx(mean, rel=1e-14)
    assert value["token_mean"] == pytest.approx(mean, rel=1e-14)
    assert value["token_mean_minibatch"] == pytest.approx(mean, rel=1e-14)
    assert value["constant"] == pytest.approx(mean * length / limit, rel=1e-14)
    assert value["sequence_sum"] == pytest.approx(mean * length, rel=1e-14)
    assert value["answer_sum"] == pytest.approx(mean * 3, rel=1e-14)


def test_answer_sum_is_the_sum_of_what_sequence_mean_averages() -> None:
    # Seen to fail with: answer_sum 1 for each token.
    losses = torch.randn(3, 5, dtype=F64, generator=torch.Generator().manual_seed(1))
    size = BatchSize(3, 9.0, 8)
    ours, theirs = (_loss(name, losses, [5, 1, 3], size) for name in ("answer_sum", "sequence_mean"))
    assert ours == pytest.approx(3 * theirs, rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_any_split_sums_to_the_whole(name: str) -> None:
    # Seen to fail with: M counted from the rows given.
    lengths = [1, 5, 3, 2, 5, 4]
    losses = torch.randn(6, 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    size = BatchSize(num_sequences=6, num_tokens=20.0, max_length=8, num_minibatch_tokens=20.0)
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
    # Seen to fail with: the clamp of a completion's length left out.
    weights = token_weights(name, completion_mask(torch.tensor([0, 2]), 2), BatchSize(2, 2.0, 4, 2.0))
    assert weights[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(weights).all()
    assert (weights[1] > 0).all()


@pytest.mark.parametrize("name", ["token_mean", "token_mean_minibatch"])
def test_a_batch_without_tokens_weighs_nothing_and_one_token_all(name: str) -> None:
    # Seen to fail with: division by a token count of 0; a count of 2 at least.
    weights = token_weights(name, torch.zeros(2, 3, dtype=torch.bool), BatchSize(2, 0.0, 4, 0.0))
    assert (weights == 0).all()
    assert token_weights(name, torch.ones(1, 1, dtype=torch.bool), BatchSize(1, 1.0, 4, 1.0)).item() == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_dtype_is_the_one_asked_for(name: str) -> None:
    # Seen to fail with: the mask raised to float32 always.
    mask = completion_mask(torch.tensor([1, 2]), 2)
    for function in (token_weights, kl_token_weights):
        assert function(name, mask, BatchSize(2, 3.0, 4, 3.0)).dtype is torch.float32
        assert function(name, mask, BatchSize(2, 3.0, 4, 3.0), F64).dtype is F64


@pytest.mark.parametrize("name", NAMES)
def test_the_kl_of_an_answer_is_the_sum_of_its_tokens(name: str) -> None:
    # Seen to fail with: answer_sum's KL divided by the lengths as its policy term is.
    mask = completion_mask(torch.tensor([1, 3]), 3)
    size = BatchSize(num_sequences=2, num_tokens=5.0, max_length=10, num_minibatch_tokens=4.0)
    weights = kl_token_weights(name, mask, size, F64)
    expected = mask.to(F64) if name == "answer_sum" else token_weights(name, mask, size, F64)
    assert torch.equal(weights, expected)


def test_unknown_name() -> None:
    # Seen to fail with: anything unknown taken as answer_sum.
    with pytest.raises(ValueError, match="unknown aggregation 'median'"):
        token_weights("median", torch.ones(1, 1, dtype=torch.bool), BatchSize(1, 1.0, 1))
