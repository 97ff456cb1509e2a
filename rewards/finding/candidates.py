"""What the search for the final answer deals in: candidates, the decision, and what kind of answer is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rewards.base import Span
from rewards.reading.values import (
    Builder,
    Choice,
    Equation,
    Member,
    NamedSet,
    Parametric,
    Region,
    Relation,
    Scalar,
    Text,
    Unordered,
    Value,
)
from rewards.trees.tree import symbols

MAX_CANDIDATES = 64


class Source(StrEnum):
    """Kinds of statement, strongest first."""

    BOXED = "boxed"
    HASHES = "hashes"
    TAG = "tag"
    PHRASE = "phrase"
    LAST_SENTENCE = "last sentence"
    """Asserted at the end, but not announced as the answer: counts for the lenient reading alone."""


class Found(StrEnum):
    """What the search came to."""

    ANSWER = "answer"
    NOTHING = "nothing"
    HEDGED = "hedged"
    SPRAY = "spray"
    UNCLEAR = "unclear"
    """Stated, but in words that make something else of the number: "at least 42"."""


FORMS: dict[str, frozenset[Source]] = {
    "stated": frozenset(Source) - {Source.LAST_SENTENCE},
    "boxed": frozenset([Source.BOXED]),
    "hashes": frozenset([Source.HASHES]),
    "answer_tags": frozenset([Source.TAG]),
    "think_answer": frozenset([Source.TAG]),
}
"""What the strict reading accepts under each form that an answer may be demanded in."""


@dataclass(frozen=True, slots=True)
class Candidate:
    r"""One statement of an answer. ``is_final`` marks words such as "final answer" or a correction.

    ``before`` and ``after`` stand outside the span and belong to the value: the minus sign of ``-\boxed{5}``, the unit
    of ``\boxed{5}\text{ cm}``.
    """

    text: str
    span: Span
    source: Source
    is_final: bool = False
    before: str = ""
    after: str = ""
    cleaned: str = ""
    """The text without characters that show nothing and without emphasis marks, where it has some."""

    @property
    def value_text(self) -> str:
        """The text to be read as the value."""
        text = self.cleaned or self.text
        return f"{self.before}{text}{self.after}" if self.before or self.after else text


@dataclass(frozen=True, slots=True)
class Loser:
    """A candidate that was not taken, and why."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """The decision and what it was taken from. ``answer`` is None exactly when nothing was found."""

    found: Found
    answer: Candidate | None = None
    losers: tuple[Loser, ...] = ()
    note: str = ""

    @property
    def others(self) -> tuple[Candidate, ...]:
        """The candidates that lost."""
        return tuple(loser.candidate for loser in self.losers)

    def is_stated(self, form: str = "stated") -> bool:
        """Whether an answer is announced as such, in the form that the strict reading demands."""
        return self.answer is not None and self.answer.source in FORMS[form]


class Kind(StrEnum):
    """What the gold answer is, as far as it matters to where a value begins and ends."""

    NUMBER = "number"
    EQUATION = "equation"
    LIST = "list"
    CHOICE = "choice"
    WORDS = "words"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The kind of answer that is looked for. ``words`` is the gold itself where it is a word answer."""

    kind: Kind = Kind.OTHER
    words: str = ""

    @property
    def several(self) -> bool:
        """Whether more than one value may be given."""
        return self.kind is Kind.LIST


ANYTHING = Wanted(Kind.NUMBER)
"""Nothing is known of the gold."""
_OTHER = Wanted(Kind.OTHER)
_BY_TYPE = {
    Choice: Wanted(Kind.CHOICE),
    Equation: Wanted(Kind.EQUATION),
    # a set of numbers may be given in parts: "x < 1 or x > 3"
    **dict.fromkeys((Unordered, Region, Relation, Member, Builder, NamedSet, Parametric), Wanted(Kind.LIST)),
}


def wanted_by(gold: Value) -> Wanted:
    """The kind of answer that ``gold`` asks for."""
    if isinstance(gold, Scalar):
        return _OTHER if symbols(gold.node) else ANYTHING
    if isinstance(gold, Text):
        return Wanted(Kind.WORDS, gold.words)
    if gold == NamedSet("empty"):
        return Wanted(Kind.WORDS, "no solution")
    return _BY_TYPE.get(type(gold), _OTHER)
