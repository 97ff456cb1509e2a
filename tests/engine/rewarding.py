"""Rewards for tests: they vary whatever the model can do, and some fail on command. Light: no torch."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from rewards.base import Explanation, Sample, Score, Verdict

HERE = Path(__file__)


def letters(completion: str, gold: str) -> float:
    """Between 0 and 1 by the text alone, so that groups are seldom all equal."""
    return sum(map(ord, completion)) % 7 / 6


def constant(completion: str, gold: str) -> float:
    """Every group is degenerate."""
    return 0.5


def parity(samples: Sequence[Sample]) -> list[Score]:
    """Calls a completion correct if it has an even number of characters."""
    return [_judge(len(sample.completion) % 2 == 0) for sample in samples]


def _judge(is_right: bool) -> Score:
    return Score(
        value=float(is_right),
        verdict=Verdict.CORRECT if is_right else Verdict.WRONG,
        explanation=Explanation(sentence="counted"),
    )


def breaks_while_told(completion: str, gold: str) -> float:
    """Like ``letters``, but fails as long as the file named by GRPO_TEST_BREAK exists."""
    if Path(os.environ["GRPO_TEST_BREAK"]).exists():
        raise ZeroDivisionError("the reward is broken")
    return letters(completion, gold)


_calls = itertools.count(1)


def signals(completion: str, gold: str) -> float:
    """Like ``letters``, but at one call sends this process signals: GRPO_TEST_SIGNALS is ``call:signal,signal``."""
    at, _, numbers = os.environ["GRPO_TEST_SIGNALS"].partition(":")
    if next(_calls) == int(at):
        for number in numbers.split(","):
            os.kill(os.getpid(), int(number))
    return letters(completion, gold)
