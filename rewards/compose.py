"""A weighted sum of rewards that keeps every component as it was given, before any weight or normalisation."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rewards.base import BeginsEarly, Reward, Sample, Score, Verdict
from rewards.failures import CONTAINED, FailureLog, RewardError, describe
from rewards.functions import sound_score


@dataclass(frozen=True, slots=True)
class ComposedScore:
    """The scalar trained on, and every component by name with its own value, verdict and explanation."""

    total: float
    components: Mapping[str, Score]

    @property
    def verdict(self) -> Verdict:
        """Verdict of the first component that has an opinion on truth; ``math`` goes before ``math_lenient``."""
        verdicts = (score.verdict for score in in_precedence(self.components))
        return next((v for v in verdicts if v is not Verdict.NOT_JUDGED), Verdict.NOT_JUDGED)


def in_precedence(components: Mapping[str, Score]) -> Iterator[Score]:
    """The scores in order, but where both readings are components, the strict one in the lenient one's place."""
    for name, score in components.items():
        if name == "math_lenient" and "math" in components:
            yield components["math"]
        yield score


class WeightedReward:
    """``total = sum(weight * value)`` over the components that judge; a value of None is left out.

    Raises:
        ValueError: there is no component, two share a name, or a weight is not finite.
    """

    def __init__(self, parts: Sequence[tuple[Reward, float]]) -> None:
        names = [part.name for part, _ in parts]
        if not parts:
            raise ValueError("a composed reward needs at least one component")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two reward components share the name {twice[0]!r}")
        if not all(math.isfinite(weight) for _, weight in parts):
            raise ValueError("a reward weight must be a finite number")
        self._parts = [(part, float(weight)) for part, weight in parts]
        self._failures = FailureLog()

    @property
    def weights(self) -> dict[str, float]:
        """Weight by component name, in order."""
        return {part.name: weight for part, weight in self._parts}

    def with_weights(self, weights: Sequence[float]) -> WeightedReward:
        """The same components, shared and not made anew, under other weights (one each, in order).

        Raises:
            ValueError: there are not as many, or one is not finite.
        """
        parts = [part for part, _ in self._parts]
        other = WeightedReward(list(zip(parts, weights, strict=True)))
        other._failures = self._failures  # what has been reported is not reported again
        return other

    def score(self, samples: Sequence[Sample]) -> list[ComposedScore]:
        """Score ``samples`` with every component, in order.

        A component that raises, or does not give one finite score for each sample, is reported once in the log with
        its traceback and is left out of the sums; the others count as always.
        """
        columns = {part.name: self._column(part, samples) for part, _ in self._parts}
        composed = []
        for index in range(len(samples)):
            components = {name: column[index] for name, column in columns.items()}
            composed.append(ComposedScore(self.total(components), components))
        return composed

    def total(self, components: Mapping[str, Score]) -> float:
        """Weighted sum of ``components``; also for a component that a person has overridden."""
        values = (
            (components[part.name].value, weight) for part, weight in self._parts if part.name in components
        )
        return math.fsum(value * weight for value, weight in values if value is not None)

    def check_gold(self, gold: str) -> str | None:
        """The first complaint of any component; one that raises is reported and has none."""
        for part, _ in self._parts:
            try:
                complaint = part.check_gold(gold)
            except CONTAINED as problem:  # a reward of the user's own
                self._report(part, problem)
                continue
            if complaint:
                return str(complaint)
        return None

    def warm_up(self) -> None:
        """Let components that have workers start them."""
        for part, _ in self._parts:
            warm_up = getattr(part, "warm_up", None)
            if callable(warm_up):
                try:
                    warm_up()
                except CONTAINED as problem:  # scoring will meet it again
                    self._report(part, problem)

    @property
    def asks_workers(self) -> bool:
        """Whether a component would have something to begin before its scores are asked for."""
        return any(part.asks_workers for part in self._beginning)

    def begin(self, samples: Sequence[Sample]) -> None:
        """Let components whose workers can do so begin on samples that will be scored later. Others are not called."""
        for part in self._beginning:
            if part.asks_workers:
                with contextlib.suppress(*CONTAINED):  # scoring will meet it again
                    part.begin(samples)

    def drop_begun(self) -> None:
        """Let go of what was begun and will not be scored."""
        for part in self._beginning:
            with contextlib.suppress(*CONTAINED):
                part.drop_begun()

    @property
    def _beginning(self) -> list[BeginsEarly]:
        return [part for part, _ in self._parts if isinstance(part, BeginsEarly)]

    def close(self) -> None:
        """Close every component, whatever another one raises. Safe to call twice."""
        for part, _ in self._parts:
            try:
                part.close()
            except CONTAINED as problem:  # a reward of the user's own
                self._report(part, problem)

    def _column(self, part: Reward, samples: Sequence[Sample]) -> list[Score]:
        """Scores of one component; where it fails, scores without a value."""
        try:
            scores = list(part.score(samples))
        except CONTAINED as problem:  # a reward of the user's own
            return [self._report(part, problem)] * len(samples)
        if len(scores) != len(samples):
            error = RewardError(part.name, f"it gave {len(scores)} scores for {len(samples)} samples")
            return [self._failures.report(error)] * len(samples)
        return [
            self._checked(part.name, sample, score) for sample, score in zip(samples, scores, strict=True)
        ]

    def _checked(self, name: str, sample: Sample, score: Score) -> Score:
        try:
            return sound_score(score)
        except ValueError as problem:
            return self._failures.report(RewardError(name, f"it gave {problem}", sample.problem_id))

    def _report(self, part: Reward, problem: BaseException) -> Score:
        error = RewardError(part.name, describe(problem))
        error.__cause__ = problem
        return self._failures.report(error)
