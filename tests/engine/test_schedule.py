"""The learning rate, by hand."""

from __future__ import annotations

import pytest

from grpo_tui.config.schema import OptimConfig
from grpo_tui.engine.schedule import learning_rate


def rates(schedule: str, warmup: int, steps: int) -> list[float]:
    config = OptimConfig(lr=8.0, schedule=schedule, warmup_steps=warmup)
    return [learning_rate(config, step, steps) for step in range(1, steps + 1)]


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [8, 8, 8, 8]),
        ("constant", 2, [4, 8, 8, 8]),
        ("linear", 0, [8, 6, 4, 2]),
        ("linear", 2, [4, 8, 8, 4]),
        ("cosine", 0, [8, 4 * (1 + 2**-0.5), 4, 4 * (1 - 2**-0.5)]),
        ("cosine", 2, [4, 8, 8, 4]),
        ("cosine", 3, [8 / 3, 16 / 3, 8, 8]),
    ],
)
def test_worked(schedule: str, warmup: int, expected: list[float]) -> None:
    assert rates(schedule, warmup, 4) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_beyond_the_planned_steps_the_rate_is_nothing_and_never_below(schedule: str) -> None:
    config = OptimConfig(lr=8.0, schedule=schedule)
    assert learning_rate(config, 5, 4) == pytest.approx(0.0)
    assert learning_rate(config, 50, 4) == pytest.approx(0.0)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_one_step(schedule: str) -> None:
    assert rates(schedule, 0, 1) == [8.0]
