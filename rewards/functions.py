"""A plain function as a reward."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from rewards.base import Explanation, Sample, Score, Verdict
from rewards.failures import FailureLog, RewardError, describe


class FunctionReward:
    """Wraps ``f(completion, gold) -> float`` or ``f(samples) -> list of float or Score``.

    The function says how it wants to be called by the number of its required parameters. It may answer None: not
    applicable. Where it raises or answers something else, that is reported once and the value is None.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name = name
        self._function = function
        self._by_pair = required_parameters(function) == 2
        self._failures = FailureLog()

    @property
    def name(self) -> str:
        """Component name."""
        return self._name

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Call the function; never raises for what it does."""
        if self._by_pair:
            return [self._score_one(sample) for sample in samples]
        try:
            values = self._call_batch(samples)
        except RewardError as error:
            return [self._failures.report(error)] * len(samples)
        return [self._checked(value, sample) for value, sample in zip(values, samples, strict=True)]

    def check_gold(self, gold: str) -> str | None:  # noqa: ARG002 - part of the protocol
        """A plain function has no opinion on golds."""
        return None

    def close(self) -> None:
        """Nothing to free."""

    def _score_one(self, sample: Sample) -> Score:
        try:
            value = self._function(sample.completion, sample.gold)
        except Exception as problem:  # the user's code
            error = RewardError(self._name, describe(problem), sample.problem_id)
            error.__cause__ = problem
            return self._failures.report(error)
        return self._checked(value, sample)

    def _call_batch(self, samples: Sequence[Sample]) -> list[Any]:
        try:
            values = list(self._function(list(samples)))
        except Exception as problem:  # the user's code
            raise RewardError(self._name, describe(problem)) from problem
        if len(values) != len(samples):
            raise RewardError(self._name, f"it returned {len(values)} values for {len(samples)} samples")
        return values

    def _checked(self, value: Any, sample: Sample) -> Score:
        try:
            return self._as_score(value, sample)
        except RewardError as error:
            return self._failures.report(error)

    def _as_score(self, value: Any, sample: Sample) -> Score:
        if isinstance(value, Score):
            return value
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError):
            reason = f"it returned a {type(value).__name__}, not a number"
            raise RewardError(self._name, reason, sample.problem_id) from None
        if number is not None and not math.isfinite(number):
            raise RewardError(self._name, f"it returned {number}", sample.problem_id)
        sentence = f"{self._name} declines to judge." if number is None else f"{self._name} gives {number:g}."
        return Score(value=number, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence=sentence))


def required_parameters(function: Callable[..., Any]) -> int:
    """Number of positional parameters without a default: it tells a reward function from a factory."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in positional for p in parameters)
