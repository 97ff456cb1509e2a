r"""The filter language over completions: ``reward<1 & len>150 & verdict=unparsed & prompt~"fraction"``.

::

    filter      = any
    any         = all {"|" all}
    all         = one {"&" one}
    one         = "!" one | "(" any ")" | comparison
    comparison  = field operator value
    operator    = "<" | "<=" | "=" | "!=" | ">=" | ">" | "~"
    field       = a name of FIELDS, or of a reward component (in quotes where it is no plain word)
    value       = number | word | "text in quotes", with \" and \\ inside

``~`` means *contains*; texts are compared without regard to case. A comparison with something that is not known (a
``kl_ref`` that was not measured, a reward not yet given) is false, and so ``!`` of it is true.

A filter becomes SQL in which every value is a parameter and every field comes from the table below; nothing that a
person typed is ever part of a statement, and nothing is evaluated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from grpo_tui.runs.schema import storable
from rewards.base import Verdict

MAX_LENGTH = 2000
MAX_DEPTH = 50

OPERATORS = ("<=", ">=", "!=", "<", ">", "=", "~")


@dataclass(frozen=True, slots=True)
class Field:
    """Something a filter can ask of a completion. ``sql`` is over the tables c, g, s and p (see the module search)."""

    sql: str
    help: str
    is_text: bool = False
    words: tuple[str, ...] = ()
    """The only values it has, if they are few."""
    costly: bool = False
    """Needs the record, or the arrays of an older file, unpacked: asked last."""
    unpacking: str = ""
    """What to ask in the place of ``sql`` in a file without the columns that it names."""


def _mean(column: str, array: str) -> Field:
    """The mean of an array, from its column where that was written."""
    unpacked = f"array_mean(c.arrays, '{array}')"
    words = "mean over its tokens" + (", nats" if column == "entropy" else "")
    return Field(
        f"CASE WHEN c.measured THEN c.{column} ELSE {unpacked} END", words, costly=True, unpacking=unpacked
    )


FIELDS: dict[str, Field] = {
    "step": Field("s.step", "number of the step"),
    "reward": Field("c.reward", "the scalar trained on"),
    "advantage": Field("c.advantage", "against its group"),
    "len": Field("nullif(c.num_tokens, 0)", "tokens"),
    "verdict": Field(
        "c.verdict", "what the verifier said", is_text=True, words=tuple(str(verdict) for verdict in Verdict)
    ),
    "finish": Field(
        "nullif(c.finish_reason, '')", "how it ended: stop or length", is_text=True, words=("stop", "length")
    ),
    "kl_ref": _mean("kl_ref", "kl_ref_T"),
    "entropy": _mean("entropy", "entropies_T"),
    "prompt": Field("p.prompt", "the text given to the model", is_text=True),
    "answer": Field("p.answer", "the gold answer", is_text=True),
    "text": Field("c.text", "the response", is_text=True),
}

_COMPONENT = Field(
    "(SELECT CASE WHEN json_type(j.value, '$.value') IN ('integer', 'real') THEN json_extract(j.value, '$.value') END"
    " FROM json_each(c.record, '$.scores') j WHERE j.key = ?)",
    "a reward component",
    costly=True,
)


class QueryError(ValueError):
    """A filter that cannot be read. ``column`` counts from 0; the message names it counting from 1."""

    def __init__(self, column: int, message: str) -> None:
        self.column = column
        super().__init__(f"column {column + 1}: {message}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field operator value``. ``component`` is True where the field is a reward component."""

    field: str
    operator: str
    value: float | str
    component: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Query


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them."""

    parts: tuple[Query, ...]


Query = Comparison | Not | And | Or


class Compiled(NamedTuple):
    """An SQL condition and its parameters, in order."""

    sql: str
    values: tuple[float | str, ...]


def parse(text: str, components: Collection[str] = ()) -> Query:
    """Read a filter.

    Args:
        text: as typed.
        components: names of the run's reward components, which are fields too.

    Raises:
        QueryError: at the column where reading failed, with what was expected.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(MAX_LENGTH, f"a filter has at most {MAX_LENGTH} characters")
    return _Parser(text, components).whole()


def compile_query(query: Query, *, unpacking: bool = False) -> Compiled:
    """A parsed filter as a condition of SQL. It needs :func:`grpo_tui.runs.search.prepare` on the connection.

    Args:
        query: as read.
        unpacking: the file has no columns for the means of arrays.
    """
    values: list[float | str] = []
    return Compiled(_sql(query, values, unpacking), tuple(values))


# Reading ------------------------------------------------------------------------------------------------------


class _Token(NamedTuple):
    kind: str
    """``number``, ``word``, ``text``, ``sign`` or ``end``."""
    text: str
    column: int


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>[-+−]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    |(?P<word>[^\W\d][\w.:/-]*)
    |(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<sign><=|>=|!=|==|&&|\|\||[<>=~&|!()])""",
    re.VERBOSE | re.DOTALL,
)
_SPELLINGS = {"==": "=", "&&": "&", "||": "|"}


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise QueryError(at, _unreadable(text, at))
        kind = match.lastgroup or ""
        if kind == "text":
            yield _Token(kind, re.sub(r"\\(.)", r"\1", match[0][1:-1], flags=re.DOTALL), at)
        elif kind != "space":
            yield _Token(kind, _SPELLINGS.get(match[0], match[0]), at)
        at = match.end()
    yield _Token("end", "", len(text))


def _unreadable(text: str, at: int) -> str:
    if text[at] == '"':
        return "this quote is never closed"
    if text[at] == "'":
        return "texts stand in double quotes"
    if text[at].isdigit():
        return "this is not a number; put a text in double quotes"
    return f"{text[at]!r} means nothing here"


class _Parser:
    """Recursive descent over the grammar above."""

    def __init__(self, text: str, components: Collection[str]) -> None:
        self._components = components
        self._tokens = _tokens(text)
        self._next = next(self._tokens)
        self._depth = 0

    def whole(self) -> Query:
        """The filter up to its end."""
        if self._next.kind == "end":
            raise QueryError(0, "the filter is empty; try reward<1 & len>150")
        query = self._any()
        if self._next.kind != "end":
            raise self._expected("& or |")
        return query

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def _at(self, sign: str) -> bool:
        return self._next.kind == "sign" and self._next.text == sign

    def _expected(self, what: str) -> QueryError:
        found = "the filter ends" if self._next.kind == "end" else f"here stands {_short(self._next.text)}"
        return QueryError(self._next.column, f"expected {what}, but {found}")

    def _any(self) -> Query:
        parts = [self._all()]
        while self._at("|"):
            self._take()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Query:
        parts = [self._one()]
        while self._at("&"):
            self._take()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self) -> Query:
        if not (self._at("!") or self._at("(")):
            return self._comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QueryError(self._next.column, f"nested deeper than {MAX_DEPTH} levels")
        inner: Query
        if self._take().text == "!":
            inner = Not(self._one())
        else:
            inner = self._any()
            if not self._at(")"):
                raise self._expected("& or | or )")
            self._take()
        self._depth -= 1
        return inner

    def _comparison(self) -> Query:
        if self._next.kind not in ("word", "text"):
            raise self._expected("a field")
        name = self._take()
        field, component = self._field(name)
        operator = self._next
        if operator.kind != "sign" or operator.text not in OPERATORS:
            raise self._expected(f"one of {' '.join(OPERATORS)} after {_short(name.text)}")
        self._take()
        if self._next.kind not in ("word", "text", "number"):
            raise self._expected("a value")
        value = self._value(field, name.text, operator, self._take())
        return Comparison(name.text, operator.text, value, component)

    def _field(self, name: _Token) -> tuple[Field, bool]:
        quoted = name.kind == "text"
        if name.text in FIELDS and not (quoted and name.text in self._components):
            return FIELDS[name.text], False
        if name.text in self._components:
            return _COMPONENT, True
        known = (*FIELDS, *self._components)
        near = difflib.get_close_matches(name.text.lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"fields are {', '.join(known)}"
        raise QueryError(name.column, f"no field {_short(name.text)}; {hint}")

    def _value(self, field: Field, name: str, operator: _Token, value: _Token) -> float | str:
        if field.is_text:
            if operator.text not in ("=", "!=", "~"):
                raise QueryError(operator.column, f"{name} is a text: compare it with =, != or ~ (contains)")
            word = value.text.replace("_", " ").lower() if field.words else value.text
            if field.words and operator.text != "~" and word not in field.words:
                near = difflib.get_close_matches(word, field.words, n=1, cutoff=0.5)
                hint = f"did you mean {_quoted(near[0])}?" if near else _listed(field.words)
                raise QueryError(value.column, f"{name} is never {_short(value.text)}; {hint}")
            return word
        if operator.text == "~":
            raise QueryError(operator.column, f"{name} is a number: compare it with < <= = != >= >")
        if value.kind != "number":
            raise QueryError(value.column, f"{name} is compared with a number, not {_short(value.text)}")
        return float(value.text.replace("−", "-"))


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else text[:29] + "…")


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _listed(words: tuple[str, ...]) -> str:
    return "it is one of " + ", ".join(_quoted(word) for word in words)


# Writing ------------------------------------------------------------------------------------------------------


def _sql(query: Query, values: list[float | str], unpacking: bool) -> str:
    match query:
        case Comparison():
            return _comparison_sql(query, values, unpacking)
        case Not(part):
            return f"NOT {_sql(part, values, unpacking)}"
        case And(parts):
            cheap_first = sorted(parts, key=_is_costly)
            return "(" + " AND ".join(_sql(part, values, unpacking) for part in cheap_first) + ")"
        case Or(parts):
            cheap_first = sorted(parts, key=_is_costly)
            return "(" + " OR ".join(_sql(part, values, unpacking) for part in cheap_first) + ")"


def _is_costly(query: Query) -> bool:
    match query:
        case Comparison(field, component=component):
            return component or FIELDS[field].costly
        case Not(part):
            return _is_costly(part)
        case And(parts) | Or(parts):
            return any(_is_costly(part) for part in parts)


def _comparison_sql(query: Comparison, values: list[float | str], unpacking: bool) -> str:
    field = _COMPONENT if query.component else FIELDS[query.field]
    sql = field.unpacking if unpacking and field.unpacking else field.sql
    if query.component:
        values.append(storable(query.field))
    values.append(storable(query.value) if isinstance(query.value, str) else query.value)
    if query.operator == "~":
        return f"ifnull(has_text({sql}, ?), 0)"
    if field.is_text:
        negation = "NOT " if query.operator == "!=" else ""
        return f"ifnull({negation}same_text({sql}, ?), 0)"
    return f"ifnull({sql} {_SQL_OPERATORS[query.operator]} ?, 0)"


_SQL_OPERATORS = {"<": "<", "<=": "<=", "=": "=", "!=": "<>", ">=": ">=", ">": ">"}
