"""From recorded runs to right and wrong answers of the same problem, split by problem. No torch."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from grpo_tui.events.records import GroupRecord
from grpo_tui.runs.reader import RunReader

MAX_PER_SIDE = 8
"""Most right answers, and most wrong ones, of one problem: so 64 pairs of it at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Different answers to one question, by whether the verifier found them right; some of each."""

    question: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def num_pairs(self) -> int:
        """Pairs of a right and a wrong answer."""
        return len(self.right) * len(self.wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What runs hold: problems with answers of both kinds, and how many problems and answers there were in all."""

    answers: tuple[Answers, ...]
    num_steps: int
    num_problems: int
    num_completions: int


def collect(runs: Sequence[Path]) -> Collected:
    """Read all finished steps of runs.

    Raises:
        RunFileError: a folder is no run, or its file cannot be read.
    """
    num_steps = 0
    pool = _Pool()
    for run in runs:
        with RunReader(run) as reader:
            for step in range(1, reader.last_step() + 1):
                detail = reader.load_step(step)
                if detail is not None:
                    pool.add(detail.groups)
                    num_steps += 1
    return pool.collected(num_steps)


def from_groups(groups: Iterable[GroupRecord]) -> tuple[Answers, ...]:
    """The answers in groups, by problem, in order of first appearance."""
    pool = _Pool()
    pool.add(groups)
    return pool.collected(0).answers


class _Pool:
    """Answers by question. A problem is known by its question: ids repeat between data sets."""

    def __init__(self) -> None:
        self._truth: dict[str, dict[str, bool | None]] = {}
        self._num_completions = 0

    def add(self, groups: Iterable[GroupRecord]) -> None:
        """Take in the judged answers; of equal texts one."""
        for group in groups:
            of_problem = self._truth.setdefault(group.problem.question.strip(), {})
            for completion in group.completions:
                right = completion.verdict.right if completion.verdict is not None else None
                if right is None:
                    continue
                self._num_completions += 1
                # The same text right once and wrong once (two golds, or two forms demanded) teaches nothing.
                known = of_problem.setdefault(completion.text, right)
                of_problem[completion.text] = right if known is right else None

    def collected(self, num_steps: int) -> Collected:
        """What can be compared."""
        found = []
        for question, truth in self._truth.items():
            right = tuple(text for text, is_right in truth.items() if is_right)
            wrong = tuple(text for text, is_right in truth.items() if is_right is False)
            if right and wrong:
                found.append(Answers(question=question, right=right, wrong=wrong))
        return Collected(
            answers=tuple(found),
            num_steps=num_steps,
            num_problems=len(self._truth),
            num_completions=self._num_completions,
        )


def split(
    answers: Sequence[Answers], eval_fraction: float, seed: int
) -> tuple[tuple[Answers, ...], tuple[Answers, ...]]:
    """Training and held-out problems: no problem stands in both.

    Args:
        answers: one entry a problem.
        eval_fraction: share of the problems that is held out, at least one where it is above 0.
        seed: of the shuffle.

    Raises:
        ValueError: too few problems to have one on each side.
    """
    shuffled = sorted(answers, key=lambda a: a.question)
    random.Random(f"split {seed}").shuffle(shuffled)
    num_held_out = max(1, round(eval_fraction * len(shuffled))) if eval_fraction else 0
    if num_held_out >= len(shuffled):
        raise ValueError(f"{len(shuffled)} problems are too few to hold {num_held_out} of them out")
    return tuple(shuffled[num_held_out:]), tuple(shuffled[:num_held_out])


def bounded(answers: Sequence[Answers], max_pairs: int, seed: int) -> tuple[Answers, ...]:
    """At most ``max_pairs`` pairs: fewer answers of each problem first, then fewer problems.

    Many problems with one pair each teach more than one problem with many.
    """
    for per_side in range(MAX_PER_SIDE, 0, -1):
        thinned = tuple(_thinned(problem, per_side, seed) for problem in answers)
        if sum(problem.num_pairs for problem in thinned) <= max_pairs:
            return thinned
    return thinned[:max_pairs]


def _thinned(problem: Answers, per_side: int, seed: int) -> Answers:
    def some(texts: tuple[str, ...]) -> tuple[str, ...]:
        if len(texts) <= per_side:
            return texts
        return tuple(random.Random(f"answers {seed} {problem.question}").sample(texts, per_side))

    return replace(problem, right=some(problem.right), wrong=some(problem.wrong))
