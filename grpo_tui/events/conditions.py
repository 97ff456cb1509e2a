"""The language of conditional breakpoints: what is asked of a step before its update.

::

    condition   = [("any" | "all" | "no") ("group" | "response") ":"] or
                | "group has" ("exactly" | "at least" | "at most") number verdict
    or          = and {("or" | "|") and}
    and         = not {("and" | "&") not}
    not         = ("not" | "!") not | comparison
    comparison  = sum [("<" | "<=" | "==" | "=" | "!=" | ">=" | ">") sum]
                | name ("jumped" | "fell") (">" | ">=") sum
    sum         = product {("+" | "-") product}
    product     = atom {("*" | "/") atom}
    atom        = number ["%"] | name | name "(" word ")" | "-" atom | "(" or ")"

``any group: sd == 0 and mean_length > 150`` · ``verdict(unparsed) > 20%`` · ``worst_token.kl_ref > 5`` ·
``group has exactly 1 correct`` · ``reward jumped > .2``. Names are those of :mod:`grpo_tui.events.measures`; without a
quantifier they are of the whole step. A comparison with a value that is not known (yet) is neither true nor false, and so
is its opposite: a condition holds only where it is known to. ``x jumped > d`` is ``x`` minus its value one step before.
Nothing is evaluated but this grammar.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from grpo_tui.events.measures import NAMES, WORDS, Scope, nearest

MAX_LENGTH = 500
MAX_DEPTH = 40

Quantifier = Literal["", "any", "all", "no"]


class ConditionError(ValueError):
    """A condition that cannot be read. ``column`` counts from 0; the message names it counting from 1."""

    def __init__(self, column: int, message: str) -> None:
        self.column = column
        super().__init__(f"column {column + 1}: {message}")


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Name:
    """A measure of the scope; with ``word``, of that verdict; with ``change``, against the step before."""

    name: str
    word: str = ""
    change: bool = False

    def __str__(self) -> str:
        text = f"{self.name}({self.word})" if self.word else self.name
        return f"change of {text}" if self.change else text


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic, a comparison, or ``and``/``or``."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Node


Node = Number | Name | Binary | Not
LOGIC = ("and", "or")
COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
}
ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else float("nan"),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read; :func:`grpo_tui.events.breakpoints.find_hit` asks it of a step."""

    text: str
    quantifier: Quantifier
    scope: Scope
    body: Node

    @property
    def names(self) -> tuple[Name, ...]:
        """Every measure it reads, once, in the order of the text."""
        return tuple(dict.fromkeys(_names(self.body)))


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ConditionError: at the column where reading failed, with what was expected.
    """
    if len(text) > MAX_LENGTH:
        raise ConditionError(MAX_LENGTH, f"a condition has at most {MAX_LENGTH} characters")
    return _Parser(text).whole()


Values = Callable[[Name], float | None]


def holds(node: Node, values: Values) -> bool | None:
    """Whether a body holds where names have these values; None: that hangs on one that is not known."""
    if isinstance(node, Not):
        part = holds(node.part, values)
        return None if part is None else not part
    if isinstance(node, Binary) and node.operator in LOGIC:
        decides = node.operator == "or"
        left = holds(node.left, values)
        if left is decides:
            return decides
        right = holds(node.right, values)
        return decides if right is decides else None if left is None or right is None else not decides
    if isinstance(node, Binary) and node.operator in COMPARES:
        first, second = _number(node.left, values), _number(node.right, values)
        return None if first is None or second is None else COMPARES[node.operator](first, second)
    value = _number(node, values)
    return None if value is None else value != 0


def _number(node: Node, values: Values) -> float | None:
    """A number; None where it is not known, or is none (0 / 0)."""
    if isinstance(node, Number):
        found: float | None = node.value
    elif isinstance(node, Name):
        found = values(node)
    elif isinstance(node, Binary) and node.operator in ARITHMETIC:
        left, right = _number(node.left, values), _number(node.right, values)
        found = None if left is None or right is None else ARITHMETIC[node.operator](left, right)
    else:
        held = holds(node, values)
        found = None if held is None else float(held)
    return None if found is None or math.isnan(found) else found


def _names(node: Node) -> Iterator[Name]:
    if isinstance(node, Name):
        yield node
    elif isinstance(node, Not):
        yield from _names(node.part)
    elif isinstance(node, Binary):
        yield from _names(node.left)
        yield from _names(node.right)


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


_TOKENS = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*|\.\d+)|(?P<name>[A-Za-z_][A-Za-z_0-9.]*)|(?P<sign><=|>=|==|!=|[<>=+\-*/()&|!:%]))"
)
_SAME = {"&": "and", "|": "or", "!": "not", "=": "=="}


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text.rstrip()):
        match = _TOKENS.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise ConditionError(at, f"{text[at]!r} has no meaning here")
        kind = match.lastgroup or ""
        yield _Token(kind, _SAME.get(match[kind], match[kind]), match.start(kind))
        at = match.end()
    yield _Token("end", "", len(text))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0
        self._scope: Scope = "step"

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> str:
        """The next token's text if it is one of these, and go on; else nothing."""
        token = self._now
        if token.kind != "end" and token.text in texts:
            self._at += 1
            return token.text
        return ""

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ConditionError(self._now.column, f"expected {text!r}{self._found()}")

    def _found(self) -> str:
        return f", found {self._now.text!r}" if self._now.kind != "end" else ", found the end"

    def whole(self) -> Condition:
        quantifier: Quantifier = ""
        if self._now.text == "group" and self._tokens[self._at + 1].text == "has":
            self._at += 2
            quantifier, self._scope = "any", "group"
            body = self._has()
        else:
            quantifier = self._quantifier()
            body = self._or()
        if self._now.kind != "end":
            raise ConditionError(self._now.column, f"expected the end{self._found()}")
        if isinstance(body, Number) or (isinstance(body, Binary) and body.operator in ARITHMETIC):
            raise ConditionError(0, "a comparison is missing, such as reward > 0.5")
        return Condition(self._text.strip(), quantifier, self._scope, body)

    def _quantifier(self) -> Quantifier:
        for word in ("any", "all", "no"):
            if self._take(word):
                scope = self._take("group", "response")
                if not scope:
                    raise ConditionError(
                        self._now.column, f"expected group or response after {word}{self._found()}"
                    )
                self._scope = "group" if scope == "group" else "response"
                self._expect(":")
                return word
        return ""

    def _has(self) -> Node:
        operator = "=="
        if self._take("at"):
            bound = self._take("least", "most")
            if not bound:
                raise ConditionError(self._now.column, f"expected least or most{self._found()}")
            operator = ">=" if bound == "least" else "<="
        else:
            self._take("exactly")
        if self._now.kind != "number":
            raise ConditionError(self._now.column, f"expected a number{self._found()}")
        count = float(self._now.text)
        self._at += 1
        return Binary(operator, Name("count", self._word()), Number(count))

    def _word(self) -> str:
        token = self._now
        if token.kind != "name" or token.text not in WORDS:
            hint = nearest(token.text, WORDS)
            raise ConditionError(token.column, f"expected a verdict ({', '.join(WORDS)}){hint}")
        self._at += 1
        return token.text

    def _or(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConditionError(self._now.column, "nested too deeply")
        node = self._and()
        while self._take("or"):
            node = Binary("or", node, self._and())
        self._depth -= 1
        return node

    def _and(self) -> Node:
        node = self._not()
        while self._take("and"):
            node = Binary("and", node, self._not())
        return node

    def _not(self) -> Node:
        inverted = False
        while self._take("not"):
            inverted = not inverted
        node = self._comparison()
        return Not(node) if inverted else node

    def _comparison(self) -> Node:
        left = self._sum()
        change = self._take("jumped", "fell")
        if change:
            return self._changed(left, change)
        operator = self._take(*COMPARES)
        if not operator:
            return left
        node = Binary(operator, left, self._sum())
        if self._now.text in COMPARES:
            raise ConditionError(self._now.column, "compare twice with and: 1 < x and x < 2")
        return node

    def _changed(self, left: Node, way: str) -> Node:
        if not isinstance(left, Name) or self._scope != "step" or NAMES["step"][left.name].before is None:
            column = self._tokens[self._at - 1].column
            raise ConditionError(column, f"only a step's own measure can have {way}")
        operator = self._take(">", ">=")
        if not operator:
            raise ConditionError(self._now.column, f"expected > after {way}{self._found()}")
        change: Node = Name(left.name, left.word, change=True)
        if way == "fell":
            change = Binary("-", Number(0.0), change)
        return Binary(operator, change, self._sum())

    def _sum(self) -> Node:
        node = self._product()
        while operator := self._take("+", "-"):
            node = Binary(operator, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._atom()
        while operator := self._take("*", "/"):
            node = Binary(operator, node, self._atom())
        return node

    def _atom(self) -> Node:
        sign = 1.0
        while self._take("-"):
            sign = -sign
        token = self._now
        node: Node
        if token.kind == "number":
            self._at += 1
            node = Number(float(token.text) / (100.0 if self._take("%") else 1.0))
        elif self._take("("):
            node = self._or()
            self._expect(")")
        elif token.kind == "name":
            node = self._name()
        else:
            raise ConditionError(token.column, f"expected a number or a name{self._found()}")
        return node if sign > 0 else Binary("-", Number(0.0), node)

    def _name(self) -> Name:
        token, known = self._now, NAMES[self._scope]
        if token.text not in known:
            elsewhere = [scope for scope, names in NAMES.items() if token.text in names]
            hint = nearest(token.text, known)
            if elsewhere:
                hint = f"; it is a measure of a {elsewhere[0]}" + (
                    f": begin with 'any {elsewhere[0]}:'" if elsewhere[0] != "step" else ""
                )
            raise ConditionError(token.column, f"no measure {token.text!r} of a {self._scope}{hint}")
        self._at += 1
        if not known[token.text].of_verdict:
            return Name(token.text)
        self._expect("(")
        word = self._word()
        self._expect(")")
        return Name(token.text, word)
