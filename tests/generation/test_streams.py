from __future__ import annotations

import itertools

import numpy as np
import pytest

from grpo_tui.generation.streams import stream_key, uniforms


def test_same_key_same_numbers() -> None:
    assert np.array_equal(uniforms("a", 50), uniforms("a", 50))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64, 255])
def test_a_longer_request_continues_the_same_numbers(count: int) -> None:
    assert np.array_equal(uniforms("a", 256)[:count], uniforms("a", count))


def test_numbers_are_in_the_half_open_unit_interval() -> None:
    numbers = uniforms("a", 100_000)
    assert numbers.dtype == np.float64
    assert 0.0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1.0
    assert abs(numbers.mean() - 0.5) < 5e-3


def test_numbers_do_not_change_between_versions() -> None:
    """Runs are compared by their completions: these numbers are a promise."""
    assert uniforms("0/train/1/0/p1", 3).tolist() == [
        0.10950940100426121,
        0.1767549615963161,
        0.72541208069784,
    ]


def test_streams_differ_in_every_part_of_the_key() -> None:
    keys = [
        stream_key(seed, purpose, step, problem, index)
        for seed, purpose, step, problem, index in itertools.product(
            (0, 1, 11), ("train", "eval"), (1, 11), ("p", "1", "1/1", "p/1"), (0, 1, 11)
        )
    ]
    assert len(set(keys)) == len(keys) == 144
    assert len({uniforms(key, 4).tobytes() for key in keys}) == 144


def test_streams_are_uncorrelated() -> None:
    numbers = np.stack([uniforms(stream_key(0, "train", 1, "p", index), 4000) for index in range(8)])
    correlation = np.corrcoef(numbers) - np.eye(8)
    assert np.abs(correlation).max() < 0.06
