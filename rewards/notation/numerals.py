r"""Conventions for writing digits: thousands, decimal commas, repeating decimals, powers of ten.

Every function rewrites notation in one linear pass; the digits themselves are never computed with, except that a
repeating decimal becomes the fraction that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from rewards.notation.characters import SOFT_COMMA, THIN

_NOT_INSIDE = rf"(?<![\d.,'_{THIN}])"
_THIN_GROUPS = re.compile(rf"{_NOT_INSIDE}\d{{1,3}}+(?:{THIN}\d{{3}})++(?!\d)")
_THIN_DECIMALS = re.compile(rf"(?<=\d)\.\d{{3}}(?:{THIN}\d{{3}})*+(?:{THIN}\d{{1,3}})?+(?!\d)")
_SPACE_GROUPS = re.compile(r"(?<![\d.,'_}])(?<![\d)] )\d{1,3}+(?: \d{3})++(?![\d/])(?! ?(?:/|\\frac|\d))")
_MARKED_GROUPS = re.compile(r"(?<![\w.,'])\d{1,3}+(?:(?:'\d{3})++|(?:_\d{3})++)(?![\w'])")
_POINT_GROUPS = re.compile(r"(?<![\w.,])\d{1,3}+(?:\.\d{3})++(?P<decimals>,\d++)?(?![.\w,])")
_SPACED_COMMA = re.compile(rf"(?<![\d.,])\d{{1,3}}+(?:[ {THIN}]\d{{3}})++,\d++(?![\d,.])")
_ZERO_AFTER_COMMA = re.compile(r"(?<![\d.,([{])\d++,(?!\d{3}(?!\d))0\d++(?![\d,.])")
_INDIAN = re.compile(r"(?<![\d.,])\d{1,2}(?:,\d{2}(?!\d))++,\d{3}(?![\d,])")
_DECIMAL_COMMA = re.compile(r"([+-]?\d++),(\d++)(?=%?\Z)")
_WESTERN = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_TIMES_LETTER = re.compile(r"(?<=[\d)])\s*+[xX]\s*+(?=\d|\(\s*\d+(?:\.\d+)?\s*\))")
_TIMES_WORD = re.compile(r"(?<=\d)\s++(?:times|multiplied by)\s++(?=\d)")
_DIVIDED_BY = re.compile(r"(?<=\d)\s++(?:divided by|over|out of)\s++(?=\d)")
_POWER_WORD = re.compile(r"(?<=\d)\s*+(?:to the power (?:of )?|raised to (?:the power of )?)(?=-?\d)")
_PREFIXED_BASE = re.compile(r"0([xob])([0-9A-Fa-f]{1,60})")
_BASES = {"x": 16, "o": 8, "b": 2}
_OVERLINE = re.compile(
    r"(?<![\d.])(?P<whole>\d{0,30})\.(?P<fixed>\d{0,30})\s*\\(?:overline|bar|widebar|underline)\s*"
    r"(?:\{\s*(?P<block>\d{1,30})\s*\}|(?P<digit>\d))(?!\d|\s*_)"
)
_DOTTED = re.compile(
    r"(?<![\d.])(?P<whole>\d{0,30})\.(?P<fixed>\d{0,30})\s*\\dot\s*(?:\{(?P<a>\d)\}|(?P<b>\d))"
    r"(?P<between>\d{0,30})\s*(?:\\dot\s*(?:\{(?P<c>\d)\}|(?P<d>\d)))?(?!\d)"
)
_BRACKETED = re.compile(r"(?P<whole>[+-]?\d{0,30})\.(?P<fixed>\d{0,30})\((?P<block>\d{1,30})\)")
_SPOKEN = re.compile(r"(?P<number>[+-]?\d{0,30}\.\d{1,30})\s*\(?(?:repeating|recurring)\)?", re.I)
_ELLIPSIS = re.compile(
    r"(?<![\d.])(?P<whole>\d{0,30})\.(?P<digits>\d{1,60})\s*(?:\.\.\.+|\\(?:ldots|cdots|dots)(?![A-Za-z]))"
)


def plain_digits(text: str) -> str:
    """Write every number of ``text`` with plain digits and a point, as far as that needs no knowledge of the gold.

    A comma between exact groups of three stays: inside brackets it separates items, so the tokens decide.
    """
    if SOFT_COMMA in text or THIN in text:
        text = _soft_commas(text)
        text = _SPACED_COMMA.sub(_joined_with_comma, text)
        text = _THIN_DECIMALS.sub(_joined, text)
        text = _THIN_GROUPS.sub(_joined, text)
        text = text.replace(THIN, " ").replace(SOFT_COMMA, ",")
    if " " in text:
        text = _SPACED_COMMA.sub(_joined_with_comma, text)
        text = _SPACE_GROUPS.sub(_joined, text)
        text = _TIMES_WORD.sub("*", text)
        text = _DIVIDED_BY.sub("/", text)
        text = _POWER_WORD.sub("^", text)
    if "'" in text or "_" in text:
        text = _MARKED_GROUPS.sub(_joined, text)
    if "." in text:
        text = _POINT_GROUPS.sub(_point_groups, text)
        text = repeating_to_fraction(text)
    if "," in text:
        text = _ZERO_AFTER_COMMA.sub(_joined_with_comma, text)
        text = _INDIAN.sub(_joined, text)
    if "x" in text or "X" in text:
        text = _PREFIXED_BASE.sub(_based, text, count=1) if _PREFIXED_BASE.fullmatch(text) else text
        text = _TIMES_LETTER.sub("*", text)
    elif _PREFIXED_BASE.fullmatch(text):
        text = _PREFIXED_BASE.sub(_based, text)
    return text


def continued_digits(text: str) -> str:
    """Read the digits before an ellipsis: as the fraction if they visibly repeat, else as they are."""
    return _ELLIPSIS.sub(_continued, text.replace("…", "...") if "…" in text else text)


def comma_readings(text: str) -> Iterator[str]:
    """Other readings of the commas in plain ``text``: ``3,5`` as 3.5, and ``1,234`` as two items."""
    found = _DECIMAL_COMMA.fullmatch(text.rstrip("%"))
    if found and not _WESTERN.fullmatch(text.rstrip("%")):
        yield text.replace(",", ".")
    elif _WESTERN.fullmatch(text):
        yield text.replace(",", ", ")


def _soft_commas(text: str) -> str:
    r"""``1{,}234`` groups; ``3{,}14`` is a decimal comma. Decided for each run of digits and soft commas."""

    def run(found: re.Match[str]) -> str:
        parts = re.split(rf"[{SOFT_COMMA},{THIN}]+", found[0])
        if len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:]):
            return "".join(parts)
        if len(parts) >= 3 and len(parts[-1]) == 3 and all(len(part) == 2 for part in parts[1:-1]):
            return "".join(parts)
        return f"{parts[0]}.{parts[1]}" if len(parts) == 2 else ",".join(parts)

    return _SOFT_RUN.sub(run, text)


_SOFT_RUN = re.compile(rf"(?<![\d.])\d++(?:(?:{SOFT_COMMA}{THIN}?|,{THIN}(?=\d{{3}}(?!\d)))\d++)++")


def _joined(found: re.Match[str]) -> str:
    return re.sub(rf"[ ,'_{THIN}]", "", found[0])


def _joined_with_comma(found: re.Match[str]) -> str:
    return re.sub(rf"[ {THIN}]", "", found[0]).replace(",", ".")


def _point_groups(found: re.Match[str]) -> str:
    """``1.234.567`` and ``1.234,56`` group with points; ``1.234`` alone is a decimal."""
    text = found[0]
    if found["decimals"] is None and text.count(".") == 1:
        return text
    return text.replace(".", "").replace(",", ".")


def _based(found: re.Match[str]) -> str:
    return f"{found[2].upper()}_{{{_BASES[found[1]]}}}"


# -- repeating decimals


def repeating_to_fraction(text: str) -> str:
    r"""Turn ``0.\overline{3}``, ``0.\dot3``, ``0.(3)``, ``0.333…`` and *0.3 repeating* into their fractions."""
    if "\\" in text:
        text = _OVERLINE.sub(_overlined, text)
        text = _DOTTED.sub(_dotted, text)
    if "..." in text or "dots" in text:
        text = continued_digits(text)
    if text.endswith(")"):
        found = _BRACKETED.fullmatch(text)
        if found:
            return _fraction(found["whole"], found["fixed"], found["block"])
    found = _SPOKEN.fullmatch(text)
    if found:
        whole, _, digits = found["number"].partition(".")
        return _fraction(whole, *_repeating_tail(digits, 1))
    return text


def _overlined(found: re.Match[str]) -> str:
    return _fraction(found["whole"], found["fixed"], found["block"] or found["digit"])


def _dotted(found: re.Match[str]) -> str:
    first, last = found["a"] or found["b"], found["c"] or found["d"]
    if last:
        return _fraction(found["whole"], found["fixed"], first + found["between"] + last)
    return found[0] if found["between"] else _fraction(found["whole"], found["fixed"], first)


def _continued(found: re.Match[str]) -> str:
    """Digits before an ellipsis: the fraction if they visibly repeat, else the digits that are there."""
    fixed, block = _repeating_tail(found["digits"], 2)
    if not block:
        return f"{found['whole']}.{found['digits']}"
    return _fraction(found["whole"], fixed, block)


def _repeating_tail(digits: str, at_least: int) -> tuple[str, str]:
    """Cut ``digits`` into a fixed part and the block that its end repeats; no block: an empty one.

    A block must stand ``at_least`` times; a single digit after others three times if it must stand twice. The block that covers
    the most digits wins, the shorter of two.
    """
    best: tuple[int, str, str] = (0, digits, "")
    for length in range(1, len(digits) // 2 + 1 if at_least > 1 else len(digits) + 1):
        block = digits[-length:]
        start = len(digits)
        while start >= length and digits[start - length : start] == block:
            start -= length
        times = (len(digits) - start) // length
        wanted = 3 if length == 1 and at_least > 1 and start else at_least
        if times >= wanted and times * length > best[0]:
            best = (times * length, digits[:start], block)
    return best[1], best[2]


def _fraction(whole: str, fixed: str, block: str) -> str:
    r"""``whole.fixed(block)`` as ``\frac{p}{q}`` in lowest terms, or as an integer."""
    sign = "-" if whole.startswith("-") else ""
    head = whole.lstrip("+-") + fixed
    value = Fraction(int(head + block) - int(head or "0"), (10 ** len(block) - 1) * 10 ** len(fixed))
    if value.denominator == 1:
        return f"{sign}{value.numerator}"
    return f"{sign}\\frac{{{value.numerator}}}{{{value.denominator}}}"


# -- powers of ten in words


def shifted(number: str, places: int) -> str:
    """``number`` (digits with at most one point) times ten to the power ``places``, written out."""
    sign = number[:1] if number[:1] in "+-" else ""
    whole, _, decimals = number.lstrip("+-").partition(".")
    if places >= 0:
        decimals = decimals.ljust(places, "0")
        whole, decimals = whole + decimals[:places], decimals[places:]
    else:
        whole = whole.rjust(-places + 1, "0")
        whole, decimals = whole[:places], whole[places:] + decimals
    whole = whole.lstrip("0") or "0"
    return sign + whole + (f".{decimals}" if decimals else "")
