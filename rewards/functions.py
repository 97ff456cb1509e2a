"""A plain function as a reward, and what any reward of the user's own answers, made sound."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from rewards.base import Explanation, Sample, Score, Verdict
from rewards.failures import CONTAINED, FailureLog, RewardError, describe


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
        except CONTAINED as problem:  # the user's code
            error = RewardError(self._name, describe(problem), sample.problem_id)
            error.__cause__ = problem
            return self._failures.report(error)
        return self._checked(value, sample)

    def _call_batch(self, samples: Sequence[Sample]) -> list[Any]:
        try:
            values = self._function(list(samples))
            if not isinstance(values, (Mapping, Set, str, bytes)):
                values = list(values)
        except CONTAINED as problem:  # the user's code
            raise RewardError(self._name, describe(problem)) from problem
        if not isinstance(values, list):
            raise RewardError(self._name, f"it returned a {type(values).__name__}, not a list of values")
        if len(values) != len(samples):
            raise RewardError(self._name, f"it returned {len(values)} values for {len(samples)} samples")
        return values

    def _checked(self, value: Any, sample: Sample) -> Score:
        try:
            return self._as_score(value)
        except ValueError as problem:
            return self._failures.report(RewardError(self._name, f"it returned {problem}", sample.problem_id))

    def _as_score(self, value: Any) -> Score:
        if isinstance(value, Score):
            return sound_score(value)
        number = None if value is None else finite_number(value)
        sentence = f"{self._name} declines to judge." if number is None else f"{self._name} gives {number:g}."
        return Score(value=number, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence=sentence))


def sound_score(score: Any) -> Score:
    """``score`` with a value that is a float or None.

    Raises:
        ValueError: it is no score, or has a field that is not what it should be; the message names what it is.
    """
    if not isinstance(score, Score):
        raise ValueError(f"a {type(score).__name__}, not a Score")
    if not isinstance(score.verdict, Verdict):
        raise ValueError(f"a Score whose verdict is a {type(score.verdict).__name__}")
    if not isinstance(score.explanation, Explanation):
        raise ValueError(f"a Score whose explanation is a {type(score.explanation).__name__}")
    if score.value is None or (type(score.value) is float and math.isfinite(score.value)):
        return score
    return dataclasses.replace(score, value=finite_number(score.value))


def finite_number(value: Any) -> float:
    """``value`` as a float.

    Raises:
        ValueError: it is not a finite number; the message names what it is.
    """
    if isinstance(value, (str, bytes, bytearray)):
        raise ValueError(f"a {type(value).__name__}, not a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"a {type(value).__name__} too large for a number") from None
    except CONTAINED:  # whatever __float__ of the user's own class does
        raise ValueError(f"a {type(value).__name__}, not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"the value {number}")
    return number


def required_parameters(function: Callable[..., Any]) -> int:
    """Number of positional parameters without a default: it tells a reward function from a factory."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in positional for p in parameters)
