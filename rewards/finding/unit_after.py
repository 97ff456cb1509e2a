"""The unit that follows a number in a sentence: where it ends."""

from __future__ import annotations

import re

from rewards.notation.units import canonical_unit

_SQUARE_UNIT = re.compile(
    r"[ \t]?(?:sq|cu)\.?[ \t]?(?:ft|in|mm|cm|km|m|yd|mi|miles?|feet|inches|meters?|metres?|yards?)\b\.?", re.I
)
_UNIT_WORD = re.compile(r"[ \t~-]?(?P<word>[A-Za-zµμ°Ω]{1,14})\.?(?![A-Za-z])")
_CHINESE_UNIT = re.compile(
    r"[ \t]*[(（]?((?:平方|立方)?(?:千米|公里|厘米|分米|毫米|米|千克|公斤|毫克|克|吨|毫升|升|小时|分钟|秒|元|角|分|度|天|年|岁)"
    r"(?:/(?:小时|分钟|秒|时|分))?)[)）]?"
)
_MORE_UNIT = re.compile(
    r"[ \t]?(?:/|per\b|an?\b|\*|\^\s*\{?-?\d\}?|[²³]|[A-Za-zµμ]{1,14})(?:[ \t]*[A-Za-z]{1,14})?(?:\^\{?\d\}?|[²³])?"
)


def with_unit(clause: str, end: int) -> int:
    """Extend a number to the unit that follows it, if it is a known one: ``12 km per hour``."""
    chinese = _CHINESE_UNIT.match(clause, end)
    if chinese and canonical_unit(chinese[1]):
        return chinese.end()
    square = _SQUARE_UNIT.match(clause, end)
    if square:
        return square.end() - (1 if square[0].endswith(".") else 0)
    found = _UNIT_WORD.match(clause, end)
    word = found["word"] if found else ""
    if (
        not found
        or word.lower() in ("in", "a", "an", "of", "i")
        or not (word.lower() in ("square", "cubic", "sq", "cu") or canonical_unit(word))
    ):
        return end
    end = found.end() - (1 if found[0].endswith(".") else 0)
    for _ in range(3):
        more = _MORE_UNIT.match(clause, end)
        if not more or not _is_more_unit(more[0].strip()):
            break
        end = more.end()
    return end


def _is_more_unit(text: str) -> bool:
    if text[0] in "/^²³*":
        return True
    head, _, tail = text.partition(" ")
    if head.lower() in ("per", "a", "an"):
        return bool(tail) and bool(canonical_unit(tail))
    return head.lower() not in ("in", "i", "of") and bool(canonical_unit(head)) and not tail
