"""A plain function as a reward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from rewards.base import Explanation, Sample, Score, Verdict


class RewardError(RuntimeError):
    """A reward failed or answered nonsense. Names the component and, where known, the problem."""

    def __init__(self, component: str, reason: str, problem_id: str = "") -> None:
        at = f" on problem {problem_id!r}" if problem_id else ""
        super().__init__(f"reward {component!r} failed{at}: {reason}")
        self.component = component
        self.reason = reason
        self.problem_id = problem_id


class FunctionReward:
    """Wraps ``f(completion, gold) -> float`` or ``f(samples) -> list of float or Score``.

    The function says how it wants to be called by the number of its required parameters.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name = name
        self._function = function
        self._by_pair = required_parameters(function) == 2

    @property
    def name(self) -> str:
        """Component name."""
        return self._name

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Call the function.

        Raises:
            RewardError: the function raised, or returned something that is not a number or score for each sample.
        """
        if not self._by_pair:
            return [
                self._as_score(value, sample)
                for value, sample in zip(*self._call_batch(samples), strict=True)
            ]
        scores = []
        for sample in samples:
            try:
                value = self._function(sample.completion, sample.gold)
            except Exception as problem:  # the user's code
                raise RewardError(self._name, _describe(problem), sample.problem_id) from problem
            scores.append(self._as_score(value, sample))
        return scores

    def check_gold(self, gold: str) -> str | None:  # noqa: ARG002 - part of the protocol
        """A plain function has no opinion on golds."""
        return None

    def close(self) -> None:
        """Nothing to free."""

    def _call_batch(self, samples: Sequence[Sample]) -> tuple[list[Any], Sequence[Sample]]:
        try:
            values = list(self._function(list(samples)))
        except Exception as problem:  # the user's code
            raise RewardError(self._name, _describe(problem)) from problem
        if len(values) != len(samples):
            raise RewardError(self._name, f"it returned {len(values)} values for {len(samples)} samples")
        return values, samples

    def _as_score(self, value: Any, sample: Sample) -> Score:
        if isinstance(value, Score):
            return value
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError):
            reason = f"it returned a {type(value).__name__}, not a number"
            raise RewardError(self._name, reason, sample.problem_id) from None
        sentence = f"{self._name} declines to judge." if number is None else f"{self._name} gives {number:g}."
        return Score(value=number, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence=sentence))


def _describe(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


def required_parameters(function: Callable[..., Any]) -> int:
    """Number of positional parameters without a default: it tells a reward function from a factory."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in positional for p in parameters)
