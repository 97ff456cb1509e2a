"""Microbatches by tokens, and rows in rectangles."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo_tui.engine.rows import MIN_MICROBATCH_TOKENS, NARROWER, Row, padded, split_by_tokens

LENGTHS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 60)), min_size=1, max_size=40)


def make_row(num_prompt: int, num_completion: int) -> Row:
    return Row(
        group=0,
        index=0,
        reward=0.0,
        prompt_ids=tuple(range(num_prompt)),
        completion_ids_T=torch.zeros(num_completion, dtype=torch.long),
        sampled_logprobs_T=torch.zeros(num_completion),
    )


def padded_tokens(rows: list[Row]) -> int:
    """What the rectangle of these rows holds."""
    return len(rows) * (max(len(r.prompt_ids) for r in rows) + max(r.num_tokens for r in rows))


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 400))
def test_every_row_once_and_within_the_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    rows = [make_row(*pair) for pair in lengths]
    parts = split_by_tokens(rows, budget)
    assert sorted(id(row) for part in parts for row in part) == sorted(map(id, rows))
    assert all(len(part) == 1 or padded_tokens(part) <= budget for part in parts)
    assert all(parts)


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 400))
def test_no_two_neighbours_would_fit_together(lengths: list[tuple[int, int]], budget: int) -> None:
    """The split is greedy: a part was closed because its successor's first row did not fit any more, or is much shorter."""
    parts = split_by_tokens([make_row(*pair) for pair in lengths], budget)
    for part, following in pairwise(parts):
        assert padded_tokens([*part, following[0]]) > min(budget, MIN_MICROBATCH_TOKENS)


@settings(deadline=None, max_examples=50)
@given(LENGTHS)
def test_a_large_budget_goes_longest_first_and_parts_only_what_is_much_shorter(
    lengths: list[tuple[int, int]],
) -> None:
    parts = split_by_tokens([make_row(*pair) for pair in lengths], 1_000_000)
    ordered = [row.total_length for part in parts for row in part]
    assert ordered == sorted((sum(pair) for pair in lengths), reverse=True)
    for part, following in pairwise(parts):
        width = padded_tokens(part) // len(part)
        assert following[0].total_length < NARROWER * width


def test_padding_costs_less_than_tokens() -> None:
    """Seen to fail with: no parting by length, which pads the 40 short rows here to 100 tokens each."""
    rows = [make_row(20, 80) for _ in range(24)] + [make_row(20, 10) for _ in range(40)]
    parts = split_by_tokens(rows, 1_000_000)
    real = sum(row.total_length for row in rows)
    assert [len(part) for part in parts] == [24, 40]
    assert sum(padded_tokens(part) for part in parts) == real


@settings(deadline=None, max_examples=50)
@given(LENGTHS)
def test_a_budget_of_one_is_a_part_for_each_row(lengths: list[tuple[int, int]]) -> None:
    assert all(len(part) == 1 for part in split_by_tokens([make_row(*pair) for pair in lengths], 1))


def test_worked() -> None:
    rows = [make_row(2, 3), make_row(4, 6), make_row(4, 5), make_row(1, 1)]
    # (4+6)·2 = 20 tokens fit into 20; then 2+3 alone is 5, with 1+1 padded to it 10.
    assert [[row.total_length for row in part] for part in split_by_tokens(rows, 20)] == [[10, 9], [5, 2]]
    assert [[row.total_length for row in part] for part in split_by_tokens(rows, 19)] == [[10], [9, 5], [2]]


def test_padded_is_zero_on_the_right() -> None:
    rectangle = padded([torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0])])
    assert rectangle.tolist() == [[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]
