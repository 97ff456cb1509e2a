"""Rewards for tests: they differ within a group whatever the model says, and some fail on command. No torch."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rewards.base import Explanation, Sample, Score, Verdict

HERE = Path(__file__)


def letters(samples: Sequence[Sample]) -> list[float]:
    """By the place in the group and, less, by the text: never all equal."""
    return [place % 4 / 4 + sum(map(ord, s.completion)) % 7 / 100 for place, s in enumerate(samples)]


def constant(completion: str, gold: str) -> float:
    """Every group is degenerate."""
    return 0.5


def alternating(samples: Sequence[Sample]) -> list[Score]:
    """Calls the first completion correct, the second wrong, and so on."""
    return [_judge(place % 2 == 0) for place, _ in enumerate(samples)]


def _judge(is_right: bool) -> Score:
    return Score(
        value=float(is_right),
        verdict=Verdict.CORRECT if is_right else Verdict.WRONG,
        explanation=Explanation(sentence="counted"),
    )


def breaks_while_told(samples: Sequence[Sample]) -> list[float]:
    """Like ``letters``, but fails as long as the file named by GRPO_TEST_BREAK exists."""
    if Path(os.environ["GRPO_TEST_BREAK"]).exists():
        raise ZeroDivisionError("the reward is broken")
    return letters(samples)


_calls = itertools.count(1)


def signals(samples: Sequence[Sample]) -> list[float]:
    """Like ``letters``, but at one call sends this process signals: GRPO_TEST_SIGNALS is ``call:signal,signal``."""
    at, _, numbers = os.environ["GRPO_TEST_SIGNALS"].partition(":")
    if next(_calls) == int(at):
        for number in numbers.split(","):
            os.kill(os.getpid(), int(number))
    return letters(samples)


def half_dead(samples: Sequence[Sample]) -> list[float]:
    """Equal rewards for every problem whose question has an even sum of letters; for the others like ``letters``."""
    dead = sum(map(ord, samples[0].prompt)) % 2 == 0
    return [0.5] * len(samples) if dead else letters(samples)


def form_only(samples: Sequence[Sample]) -> list[Score]:
    """All wrong, and paid unequally all the same."""
    return [replace(_judge(False), value=place / 10) for place, _ in enumerate(samples)]
