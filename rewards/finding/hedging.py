"""Whether a statement offers several values instead of one: "3 or 4", "maybe 3, maybe 4", "A and C"."""

from __future__ import annotations

import re
from fractions import Fraction

_HEDGE = re.compile(
    r"\b(?:or|either|maybe|perhaps|possibly|alternatively|otherwise|and/or|may be|might be|could be|may also be)\b|或者|或|可能|也许",
    re.I,
)
_LETTERS_OR_DIGITS = re.compile(r"\\?[^\W\d_]+|[\d.]+")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|boxed|quad|qquad)?(?![A-Za-z])")
_WORD = re.compile(r"\\?[A-Za-z]{2,}|[\u4e00-\u9fff]+")
_KEPT_WORDS = frozenset(["pi", "sqrt", "frac", "infty"])
_PLAIN = re.compile(
    r"([-−+]?)(?:(\d{1,12})/(\d{1,12})|\\d?frac\{(\d{1,12})\}\{(\d{1,12})\}|(\d{0,15}(?:\.\d{1,15})?))(%?)"
)
_EMPTY_WORDS = re.compile(
    r"\b(?:more|less|less than|about|so|the|a|an|it|is|be|could|both|equivalently|approximately|in other words"
    r"|rather|just|else|also|not|less|greater|fewer)\b",
    re.I,
)


def is_hedged(text: str, gold_words: str = "") -> bool:
    """Tell whether ``text`` offers several different values: "3 or 4", "either 3 or 4", "3, maybe 4"."""
    if len(text) > 2_000 or not _HEDGE.search(text) or _HEDGE.search(gold_words):
        return False
    bare = _EMPTY_WORDS.sub(" ", _TEXT_COMMAND.sub(" ", text))
    parts = [part for part in _HEDGE.split(bare) if part.strip(" ,.{}$()")]
    if any(char.isdigit() for char in text):
        parts = [_WORD.sub(_without_word, part) for part in parts]
    values = {same_number(part) or "".join(_LETTERS_OR_DIGITS.findall(part.lower())) for part in parts}
    return len(values - {""}) > 1


def _without_word(found: re.Match[str]) -> str:
    return found[0] if found[0].lstrip("\\") in _KEPT_WORDS else " "


def same_number(text: str) -> str:
    """One spelling for every plain number of the same value, or an empty string for anything else."""
    found = _PLAIN.fullmatch("".join(text.split()).strip("$(),;:").rstrip("."))
    if not found or not any(char.isdigit() for char in found[0]):
        return ""
    top, bottom = found[2] or found[4] or found[6], found[3] or found[5] or "1"
    if int(bottom) == 0:
        return ""
    value = Fraction(top) / int(bottom) / (100 if found[7] else 1)
    return f"={-value if found[1] in ('-', '−') and value else value}"


def squeezed(text: str) -> str:
    """``text`` without blanks and final points, so that equal answers compare equal."""
    return same_number(text) or "".join(text.split()).rstrip(".")
