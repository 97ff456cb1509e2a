"""A problem as the engine knows it, and what a source of problems gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class DataError(ValueError):
    """Problems that cannot be loaded or rendered, said in one line: where, what is wrong, what to do."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One row of a data set.

    Attributes:
        id: unique among all problems of a run, held-out ones included.
        question: the user's (last) text as it stands in the data, before any template.
        messages: the conversation as it stands in the data; one user message where the column is text.
        answer: the gold final answer, taken from its column.
        metadata: the row's other short values as text, for filtering and display.
    """

    id: str
    question: str
    messages: tuple[Mapping[str, str], ...]
    answer: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A problem kept out of the run, and why."""

    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.id}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedProblems:
    """What a source gave: problems to train on, problems held out, those kept out of both, notes for the user.

    The held-out problems come in an order of their own, so that the first N are a fair sample of them.
    """

    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
