"""Quantities in several parts: *5 ft 3 in*, *2 hours and 30 minutes*, 3元5角, ``45° 30'``.

Two of them are equal when their totals are. Only here are units converted, and only within one dimension: a single
unit against a different single unit stays different.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from rewards.notation.unit_table import SIZES
from rewards.notation.units import canonical_unit


@dataclass(frozen=True, slots=True)
class Compound:
    """Parts with units of one dimension, largest first, and their total in its smallest unit."""

    dimension: str
    total: Fraction
    parts: tuple[tuple[Fraction, str], ...]

    def __str__(self) -> str:
        return " ".join(f"{value} {unit}" for value, unit in self.parts)


_MAX = 120
_PART = re.compile(
    r"\s*(?P<dollars>\$)?\s*(?P<number>\d{1,18}(?:\.\d{1,18})?(?:\s+\d{1,9}/\d{1,9}|/\d{1,9})?)\s*-?\s*"
    r"(?P<unit>''|'|\"|(?!(?:and|plus)\b)[A-Za-z]+(?:\s[A-Z](?![A-Za-z]))?\.?|[\u4e00-\u9fff]{1,3}|)\s*(?:,\s*|(?:and|&|plus|又|零)\s+)?\s*",
)
_AFTER = {
    "h": {"m": "min", "分": "min"},
    "min": {"分": "min"},
    "CNY": {"分": "fen"},
    "jiao": {"分": "fen"},
    "deg": {
        "'": "arcmin",
        "分": "arcmin",
        "minute": "arcmin",
        "minutes": "arcmin",
        "''": "arcsec",
        '"': "arcsec",
    },
    "arcmin": {"''": "arcsec", '"': "arcsec", "秒": "arcsec", "seconds": "arcsec", "second": "arcsec"},
    "ft": {"''": "in", '"': "in"},
}
_FIRST = {"'": "ft", "毛": "jiao", "块": "CNY", "时": "h", "度": "deg"}
_LOOSE = {"毛": "jiao", "块": "CNY"}
_TRAILING_WORDS = re.compile(r"[A-Za-z\u4e00-\u9fff ]{0,40}")


def read_compound(text: str) -> Compound | None:
    """Read plain ``text`` as a quantity in at least two parts of one dimension; None if it is none."""
    if len(text) > _MAX or not (text[:1].isdigit() or text[:1] == "$"):
        return None
    parts: list[tuple[Fraction, str]] = []
    position = 0
    while position < len(text):
        found = _PART.match(text, position)
        if found is None or found.end() == position:
            break
        parts.append((_number(found["number"]), _unit(found, parts)))
        position = found.end()
    if len(parts) < 2 or not _TRAILING_WORDS.fullmatch(text, position):
        return None
    parts = _resolved(parts)
    return _total(parts)


def in_smallest(value: Fraction, unit: str) -> tuple[str, Fraction] | None:
    """Dimension of ``unit`` and ``value`` in the smallest unit of it; None for a unit that is never converted."""
    size = SIZES.get(unit)
    return (size[0], value * size[1]) if size else None


def _number(text: str) -> Fraction:
    """``3``, ``2.5``, ``1/2`` or ``1 1/2``; an impossible fraction counts as zero and so never agrees."""
    whole, _, part = text.rpartition(" ")
    if "/" not in part:
        return Fraction(part)
    top, bottom = part.split("/")
    return Fraction(whole.strip() or 0) + (Fraction(top) / Fraction(bottom) if Fraction(bottom) else 0)


def _unit(found: re.Match[str], before: list[tuple[Fraction, str]]) -> str:
    word = found["unit"].rstrip(".")
    if found["dollars"]:
        return "USD" if not word else "?"
    previous = before[-1][1] if before else ""
    special = _AFTER.get(previous, {}).get(word) or (_FIRST if not before else _LOOSE).get(word)
    if special:
        return special
    if not word:
        return {"CNY": "jiao", "h": "min"}.get(previous, "?")
    return canonical_unit(word) or "?"


def _resolved(parts: list[tuple[Fraction, str]]) -> list[tuple[Fraction, str]]:
    """``5m 30s``: a lone ``m`` beside units of time is a minute."""
    if any(unit in ("h", "s") for _, unit in parts):
        return [(value, "min" if unit == "m" else unit) for value, unit in parts]
    return parts


def _total(parts: list[tuple[Fraction, str]]) -> Compound | None:
    sizes = [in_smallest(value, unit) for value, unit in parts]
    known = [size for size in sizes if size is not None]
    if len(known) < len(parts) or len({dimension for dimension, _ in known}) > 1:
        return None
    scales = [SIZES[unit][1] for _, unit in parts]
    if any(big <= small for big, small in pairwise(scales)):
        return None
    return Compound(known[0][0], sum((size for _, size in known), Fraction(0)), tuple(parts))
