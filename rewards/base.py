"""What every reward takes and gives back.

A reward reads a batch of :class:`Sample` and answers one :class:`Score` for each, in order. A score is never
a bare number: it carries a :class:`Verdict` and an :class:`Explanation`, because the person watching wants to
know *why*. Everything here is plain data, JSON-ready and free of torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Verdict(StrEnum):
    """How a reward judged one completion. Only ``CORRECT`` pays in the math verifier."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    NO_ANSWER = "no answer"
    TIMEOUT = "timeout"
    CRASH = "crash"
    BAD_GOLD = "bad gold"
    NOT_JUDGED = "not judged"
    """Given by rewards that only measure (format, length): they have a value but no opinion on truth."""

    @property
    def right(self) -> bool | None:
        """Whether the answer is right; None where that was not found out. What cannot be read is not right."""
        if self is Verdict.CORRECT:
            return True
        return False if self in (Verdict.WRONG, Verdict.UNPARSED, Verdict.NO_ANSWER) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One completion to be judged.

    ``completion`` is the text exactly as decoded; ``gold`` the final answer as the data set writes it;
    ``finish_reason`` is ``"stop"`` or ``"length"``.
    """

    problem_id: str
    prompt: str
    completion: str
    gold: str
    finish_reason: str = "stop"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open character range ``[start, end)`` into the *original* completion text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """A candidate that was found and not taken, with the reason."""

    span: Span
    text: str
    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a score was given. Every text in it is bounded and may be shown; none is ever evaluated."""

    sentence: str
    """One sentence for a person: what was found, what it was compared with, and the outcome."""
    span: Span | None = None
    """Where the judged answer stands in the completion."""
    source: str = ""
    """What kind of statement the answer came from: ``boxed``, ``hashes``, ``tag``, ``phrase``, ``last sentence``."""
    runner_up_spans: tuple[Span, ...] = ()
    """Other candidates that were found and lost."""
    runner_ups: tuple[RunnerUp, ...] = ()
    """The same with their text and why each lost; the last of very many."""
    strict: bool | None = None
    """Whether the answer is right and stated as demanded; None for a reward that does not judge truth."""
    lenient: bool | None = None
    """Whether the answer is right wherever it is asserted at the end; ``strict`` implies it."""
    answer_text: str = ""
    """The extracted answer as it stands in the completion."""
    normalized_text: str = ""
    """The same after normalisation, as the parser read it."""
    parsed_answer: str = ""
    """Short printed form of the parsed answer, with its type."""
    gold_text: str = ""
    """The gold as it was given."""
    normalized_gold: str = ""
    """The gold after normalisation."""
    parsed_gold: str = ""
    """Short printed form of the parsed gold, with its type."""
    rule: str = ""
    """Name of the rule that decided, for example ``same number``."""
    near_miss: str = ""
    """Class of a near miss (``sign``, ``percent``, ``off by one`` ...), or empty."""
    difference: str = ""
    """Answer minus gold where both are exact numbers and differ, for example ``-1/2``."""
    elapsed_ms: float = 0.0
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of extracting, reading and comparing, where they were measured."""
    version: str = ""
    """The verifier and its version, so that an old verdict can be told from a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One reward's opinion of one completion.

    ``value`` is None when this reward declines to judge; composition leaves such a component out.
    """

    value: float | None
    verdict: Verdict
    explanation: Explanation


@runtime_checkable
class Reward(Protocol):
    """Judges completions. Implementations must be callable from any thread and must not raise on any text."""

    @property
    def name(self) -> str:
        """Component name as it stands in the run file and on the screen."""
        ...

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Return one score for each sample, in order."""
        ...

    def check_gold(self, gold: str) -> str | None:
        """Return None if ``gold`` can be judged against, else one line saying why not."""
        ...

    def close(self) -> None:
        """Free worker processes. Safe to call twice."""
        ...


@runtime_checkable
class BeginsEarly(Protocol):
    """What a reward may have besides, if other processes judge for it: they can begin before the scores are asked for."""

    @property
    def asks_workers(self) -> bool:
        """Whether that is worth while: some of the answers that were scored lately were not judged at once."""
        ...

    def begin(self, samples: Sequence[Sample]) -> None:
        """Begin to judge samples that :meth:`Reward.score` will be asked about, and return at once."""
        ...

    def drop_begun(self) -> None:
        """It will not be asked about what was begun."""
        ...


class MeasuringReward(ABC):
    """A reward that measures one completion at a time, has no opinion on golds and holds nothing to free."""

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Measure each completion, in order."""
        return [self._score(sample) for sample in samples]

    def check_gold(self, gold: str) -> str | None:  # noqa: ARG002 - part of the protocol
        """What is measured does not depend on the gold."""
        return None

    def close(self) -> None:  # noqa: B027 - most measures hold nothing, one that does may free it
        """Nothing to free."""

    @abstractmethod
    def _score(self, sample: Sample) -> Score:
        """Measure one completion."""
