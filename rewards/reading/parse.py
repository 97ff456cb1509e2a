"""Raw answer or gold → a reading: normalised text, unit and typed value.

Nothing here evaluates text: every tree node comes from a fixed table of names. Depth and size are bounded
while parsing, so no later step meets a tree that it cannot walk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from rewards.notation.layout import lay_out
from rewards.notation.normalize import normalize, plain_notation
from rewards.notation.outermost import semicolons_as_commas
from rewards.notation.phrases import is_words, plain_words
from rewards.reading.special import letter_alone, letter_with_text
from rewards.reading.structure import point_reading, read_value
from rewards.reading.tokens import refuse_code
from rewards.reading.values import Choice, LimitExceeded, Reading, Scalar, Text, Unreadable, Value
from rewards.trees.names import number
from rewards.trees.tree import negate

_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?")


@lru_cache(maxsize=8192)
def read(raw: str) -> Reading:
    """Read one answer or gold.

    Raises:
        Unreadable: it is empty, looks like code or has no meaning here (:class:`LimitExceeded`: it is too large).
    """
    if _PLAIN_NUMBER.fullmatch(raw):
        literal = number(raw.lstrip("+-"))
        return Reading(raw, raw, "", Scalar(negate(literal) if raw[0] == "-" else literal))
    text = lay_out(raw)
    text = semicolons_as_commas(text) if ";" in text and len(raw) < 4_000 else text
    refuse_code(text.strip().strip("\"'`"))
    normal = normalize(text)
    if not normal.text:
        raise Unreadable("it is empty")
    if normal.special is not None:
        return Reading(raw, normal.text, "", normal.special)
    try:
        value, units = read_value(normal.text)
        return Reading(raw, normal.text, normal.unit or units, value, tuple(normal.others))
    except LimitExceeded:
        raise
    except Unreadable as problem:
        words = plain_notation(text)
        if not is_words(words):
            raise Unreadable(str(problem)) from None
        return Reading(raw, words, "", Text(plain_words(words)))


def choice_letter(raw: str) -> str | None:
    """Letter of an answer such as ``(B)``, ``B.`` or ``B) 12``; None if it does not begin with one."""
    text = plain_notation(raw)
    beside = letter_with_text(text)
    return letter_alone(text) or (beside[0] if beside else None)


def alternate_values(reading: Reading) -> Iterator[Value]:
    """What the text may also mean: ``3,5`` is a list of two and the number 3.5, ``C(3, 4)`` a count and a point."""
    if isinstance(reading.value, (Text, Choice)):
        return
    for other in reading.others:
        try:
            yield read_value(other)[0]
        except Unreadable:
            continue
    point = point_reading(reading.text)
    if point is not None:
        yield point
