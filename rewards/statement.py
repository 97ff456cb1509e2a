"""Statements of an answer in words: "the answer is …", "Final answer: …", 答案是….

Finds where such a phrase puts its value and how far the value reaches. All scans are linear in the text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """Half-open range of the stated value, and whether the words were "final answer"."""

    start: int
    end: int
    is_final: bool


_ANCHOR = re.compile(
    r"(?P<final>\bfinal[ \t]+)?\b(?:answers?|(?P<weak>solutions?))\b[*_\"]{0,3}"
    r"(?:[ \t]+(?:to|for|of)\b[^.\n:：=?]{1,100}?)??"
    r"(?:[ \t]*(?P<colon>[:：=])|[ \t]+(?P<verb>is|are|was|equals|will be|would be|should be|must be|comes? (?:out )?to)\b"
    r"|(?P<heading>[*_# \t]*\n))"
    r"|(?P<chinese_final>最终|最后的?)?(?:答案|答)(?P<chinese>(?:应该|应)?(?:是|为|等于)?\s*[:：]?)",
    re.I,
)
_OPENING = re.compile(r"(?:[\s*_:：>\"“`]|(?:is|therefore|thus|simply|just|equal to|=)\b|=)*", re.I)
_CLAUSE_END = re.compile(
    r"[.!?](?=\s|$|[*\"'”)<])|[.](?=[A-Z])|[。！？；;\n]|</|<\||,?\s+(?:because|since|which|where|given that|due to|so|thus"
    r"|therefore|hence|as)\b|，?(?:因为|所以|因此)",
    re.I,
)
_NOT_BUT = re.compile(r"not\s+[^,.\n]{1,40}?,?\s+(?:but|it(?:'s| is)|rather)\s+", re.I)
_DENIED = re.compile(r"(?:not|never|unknown|unclear|wrong|incorrect)\b", re.I)
_THEN_NOT = re.compile(r",?\s+(?:and\s+|but\s+)?not\s", re.I)
_WRONG = re.compile(r"\b(?:is|was)\s+(?:wrong|incorrect|not\s+(?:right|correct))", re.I)
_MATH = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_VALUE = re.compile(r"\d|\\[A-Za-z]|=|^\s*\(?[A-Za-z]\)?\s*$")
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])[-−]?\$?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?\s?%?")
_PROSE = re.compile(r"(?!.*\blambda\b)[^\[\]{}\"_;<>@#`|]*", re.S)
_WORD = re.compile(r"[A-Za-z]{2,}|[\u4e00-\u9fff]{2,}")
_MATH_WORDS = frozenset(
    [
        "pi",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
        "arcsin",
        "arccos",
        "arctan",
        "abs",
        "either",
        "or",
        "and",
    ]
)
_HEDGE = re.compile(r"\b(?:or|either|maybe|perhaps|possibly|alternatively)\b|或者|或|可能", re.I)
_LETTERS_OR_DIGITS = re.compile(r"\\?[A-Za-z]+|[\d.]+")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|boxed)?(?![A-Za-z])")
_MAX_STATEMENT = 1_600
MAX_STATEMENTS = 64


def statement_after(text: str, start: int = 0) -> Iterator[Statement]:
    """Yield the statements of an answer from ``start`` on, in order; of very many only the last ones."""
    for anchor in deque(_ANCHOR.finditer(text, start), MAX_STATEMENTS):
        if anchor["heading"] and not anchor["final"]:
            continue
        if anchor["chinese"] == "" and not anchor["chinese_final"]:
            continue
        found = _value_range(text, anchor.end())
        if found is None:
            continue
        begin, end = found
        if anchor["weak"] and (anchor["colon"] or not looks_like_value(text[begin:end])):
            continue
        yield Statement(begin, end, bool(anchor["final"] or anchor["chinese_final"]))


def looks_like_value(text: str) -> bool:
    """Tell a value from prose by what any value has: a digit, a LaTeX command, an equals sign, or one letter."""
    return bool(_VALUE.search(text)) or len(text.split()) == 1


def is_hedged(text: str) -> bool:
    """Tell whether ``text`` offers several different values: "3 or 4", "either 3 or 4", "3, maybe 4"."""
    if not _HEDGE.search(text):
        return False
    parts = [part for part in _HEDGE.split(_TEXT_COMMAND.sub(" ", text)) if part.strip(" ,.{}$")]
    if any(char.isdigit() for char in text):
        parts = [_WORD.sub(" ", part) for part in parts]
    values = {"".join(_LETTERS_OR_DIGITS.findall(part)) for part in parts}
    return len(values - {""}) > 1


def _value_range(text: str, start: int) -> tuple[int, int] | None:
    """Range of the value that begins at or after ``start``; None if the statement denies itself or is empty."""
    begin = _skip_opening(text, start)
    window = text[begin : begin + _MAX_STATEMENT]
    not_but = _NOT_BUT.match(window)
    if not_but:
        begin += not_but.end()
        window = text[begin : begin + _MAX_STATEMENT]
    elif _DENIED.match(window):
        return None
    display = _leading_math(window)
    clause = _clause(window, display[2] if display else 0)
    if not clause.strip() or _WRONG.search(clause):
        return None
    if display and not _HEDGE.search(clause, display[2]) and not re.search(r"\d", clause[display[2] :]):
        return begin + display[0], begin + display[1]
    denied = _THEN_NOT.search(clause)
    clause = (clause[: denied.start()] if denied else clause).rstrip(' \t*_,:"”`>')
    first, last = _without_prose(clause)
    return (begin + first, begin + last) if last > first else None


def _skip_opening(text: str, start: int) -> int:
    """Skip blanks, markdown and the like, but no more than two line ends."""
    found = _OPENING.match(text, start, min(len(text), start + 80))
    end = found.end() if found else start
    breaks = [m.start() for m in re.finditer("\n", text[start:end])]
    return start + breaks[3] if len(breaks) > 3 else end


def _leading_math(window: str) -> tuple[int, int, int] | None:
    """Where a formula in delimiters at the start of ``window`` begins and ends, and where its delimiter ends."""
    for opening, closing in _MATH:
        if window.startswith(opening):
            end = window.find(closing, len(opening))
            if end > 0 and (opening != "$" or "\n" not in window[:end]):
                return len(opening), end, end + len(closing)
            return None
    return None


def _clause(window: str, start: int) -> str:
    """The window up to the end of its sentence or the beginning of a reason."""
    found = _CLAUSE_END.search(window, start)
    return window[: found.start()] if found else window


def _without_prose(clause: str) -> tuple[int, int]:
    """Narrow "Natalia sold 48 + 24 = 72 clips" to ``72 clips``, "she has 12 apples" to ``12``; else keep it all."""
    digit = re.search(r"\d", clause)
    words = [w[0].lower() for w in _WORD.finditer(clause, 0, digit.start() if digit else 0)]
    if not digit or not _PROSE.fullmatch(clause) or all(word in _MATH_WORDS for word in words):
        return 0, len(clause)
    if _is_latex_only(clause, digit.start()):
        return 0, len(clause)
    equals = clause.rfind("=")
    if equals >= 0:
        tail = clause[equals + 1 :]
        return equals + 1 + len(tail) - len(tail.lstrip()), len(clause)
    numbers = list(_NUMBER.finditer(clause))
    if len({number[0].replace(" ", "") for number in numbers}) == 1:
        return numbers[-1].start(), numbers[-1].end()
    return 0, len(clause)


def _is_latex_only(clause: str, digit: int) -> bool:
    """Tell whether every word before the first digit belongs to a LaTeX command."""
    return not _WORD.search(re.sub(r"\\[A-Za-z]+", "", clause[:digit]))
