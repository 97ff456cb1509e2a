"""Plain notation → a typed value, by recursive descent over tokens.

Nothing here evaluates text: every tree node comes from a fixed table of names. Depth and size are bounded
while parsing, so no later step meets a tree that it cannot walk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rewards.expression import ExpressionParser
from rewards.normalize import normalize, plain_notation
from rewards.tokens import Token, refuse_code, tokenize
from rewards.tree import Symbol
from rewards.values import (
    Based,
    Choice,
    Equation,
    LimitExceeded,
    Ordered,
    Reading,
    Relation,
    Scalar,
    Text,
    Unordered,
    Unreadable,
    Value,
)

MAX_ITEMS = 64
_BASED = re.compile(r"\(?([0-9A-F]{1,200})\)?_\{?\s*(\d{1,2})\s*\}?")
_CHOICE = re.compile(r"\(?\s*([A-J])\s*\)?")
_CHOICE_WITH_TEXT = re.compile(r"(?:\(([A-J])\)|([A-J])[.):])\s*(\S.*)", re.S)
_JOINT = re.compile(r"\s*,?\s+(?:and|or)\s+|\s*(?:或者|或|和|及|与)\s*", re.I)
_WORDS = re.compile(r"[^\W_][^\\=<>^_{}*+|\[\]]*", re.UNICODE)
_ARTICLES = re.compile(r"\b(?:the|a|an)\b")
_RELATIONS = frozenset(("<", ">", "<=", ">=", "!="))
_PAIRS = {"(": (")", "]"), "[": ("]", ")")}


@lru_cache(maxsize=8192)
def read(raw: str) -> Reading:
    """Read one answer or gold.

    Raises:
        Unreadable: it is empty, looks like code or has no meaning here (:class:`LimitExceeded`: it is too large).
    """
    refuse_code(raw.strip().strip("\"'`"))
    normal = normalize(raw)
    if not normal.text:
        raise Unreadable("it is empty")
    try:
        value = _read_value(normal.text)
        return Reading(raw, normal.text, normal.unit, value)
    except LimitExceeded:
        raise
    except Unreadable as problem:
        words = plain_notation(raw)
        if not _is_words(words):
            raise Unreadable(str(problem)) from None
        return Reading(raw, words, "", Text(_plain_words(words)))


def choice_letter(raw: str) -> str | None:
    """Letter of an answer such as ``(B)``, ``B.`` or ``B) 12``; None if it does not begin with one."""
    text = plain_notation(raw)
    found = _CHOICE.fullmatch(text)
    if found:
        return found[1]
    found = _CHOICE_WITH_TEXT.fullmatch(text)
    return (found[1] or found[2]) if found else None


def _read_value(text: str) -> Value:
    choice = _CHOICE.fullmatch(text)
    if choice:
        return Choice(choice[1])
    based = _BASED.fullmatch(text)
    if based and 2 <= int(based[2]) <= 36:
        return Based(based[1].lstrip("0") or "0", int(based[2]))
    if text.isalpha() and len(text) > 1 and text.lower() not in ("pi",):
        raise Unreadable(f"{text!r} is a word")
    tokens = tokenize(_JOINT.sub(",", text))
    return _read_tokens(_without_membership(tokens))


def _is_words(text: str) -> bool:
    """Tell whether unreadable text may stand as a word answer: it has a letter and no formula in it."""
    return bool(_WORDS.fullmatch(text)) and any(char.isalpha() for char in text)


def _plain_words(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower()).replace("-", " ").split())


def _without_membership(tokens: list[Token]) -> list[Token]:
    r"""Drop ``x \in`` before an interval or set."""
    if len(tokens) > 2 and tokens[1].text == "\\in" and tokens[0].kind == "name":
        return tokens[2:]
    return tokens


def _read_tokens(tokens: Sequence[Token], depth: int = 0) -> Value:
    if not tokens:
        raise Unreadable("a part of it is empty")
    if depth > 8:
        raise LimitExceeded("collections nested too deep")
    for separator, kind in ((",", "list"), ("\\cup", "union"), (":", "ratio")):
        parts = _split(tokens, separator)
        if len(parts) > 1:
            items = tuple(_read_tokens(part, depth + 1) for part in parts)
            return Ordered("", kind, items) if kind == "ratio" else Unordered(_expand(items), kind)
    return _read_single(tokens, depth)


def _read_single(tokens: Sequence[Token], depth: int) -> Value:
    inside = _bracketed(tokens)
    if inside is not None:
        parts = _split(inside, ",")
        if tokens[0].text in ("\\{", "{"):
            if tokens[0].text == "\\{" or len(parts) > 1:
                items = tuple(_read_tokens(part, depth + 1) for part in parts) if inside else ()
                return Unordered(_expand(items), "set")
        elif len(parts) > 1:
            items = tuple(_read_tokens(part, depth + 1) for part in parts)
            return Ordered(tokens[0].text, tokens[-1].text, items)
    if any(token.text == "\\pm" for token in tokens):
        return _both_signs(tokens, depth)
    return _read_relation(tokens)


def _read_relation(tokens: Sequence[Token]) -> Value:
    sides, signs = ExpressionParser(tokens).relation()
    if not signs:
        return Scalar(sides[0])
    if all(sign == "=" for sign in signs):
        return Equation(sides)
    if "=" in signs or not _RELATIONS.issuperset(signs):
        raise Unreadable("a mixture of equations and inequalities")
    return Relation(sides, signs)


def _both_signs(tokens: Sequence[Token], depth: int) -> Value:
    if sum(token.text == "\\pm" for token in tokens) > 1:
        raise Unreadable("more than one ±")
    values = []
    for sign in "+-":
        values.append(
            _read_tokens([Token("sign", sign) if t.text == "\\pm" else t for t in tokens], depth + 1)
        )
    return Unordered(tuple(values), "list")


def _expand(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Flatten a ± inside a list into its two values, and share ``x =`` along ``x = 1, 2``."""
    flat: list[Value] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Unordered) and item.kind == "list" else (item,))
    if len(flat) > MAX_ITEMS:
        raise LimitExceeded(f"more than {MAX_ITEMS} items")
    first = flat[0] if flat else None
    if isinstance(first, Equation) and isinstance(first.sides[0], Symbol):
        unknown = first.sides[0]
        flat[1:] = [Equation((unknown, v.node)) if isinstance(v, Scalar) else v for v in flat[1:]]
    return tuple(flat)


def _split(tokens: Sequence[Token], separator: str) -> list[Sequence[Token]]:
    parts: list[Sequence[Token]] = []
    depth = start = 0
    for index, token in enumerate(tokens):
        if token.text in ("(", "[", "{", "\\{"):
            depth += 1
        elif token.text in (")", "]", "}", "\\}"):
            depth -= 1
        elif depth == 0 and token.text == separator:
            parts.append(tokens[start:index])
            start = index + 1
    parts.append(tokens[start:])
    return parts


def _bracketed(tokens: Sequence[Token]) -> Sequence[Token] | None:
    """Tokens inside one pair of brackets that encloses the whole, else None."""
    closers = {**_PAIRS, "{": ("}",), "\\{": ("\\}",)}.get(tokens[0].text)
    if closers is None or tokens[-1].text not in closers:
        return None
    depth = 0
    for index, token in enumerate(tokens):
        if token.text in ("(", "[", "{", "\\{"):
            depth += 1
        elif token.text in (")", "]", "}", "\\}"):
            depth -= 1
            if depth == 0 and index < len(tokens) - 1:
                return None
    return tokens[1:-1] if depth == 0 else None
