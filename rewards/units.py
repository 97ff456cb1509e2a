"""Unit names, only as much as it takes to tell that two written units differ. Nothing is converted."""

from __future__ import annotations

import re

_GROUPS: dict[str, str] = {
    "millimeter": "mm millimeter millimetre 毫米",
    "centimeter": "cm centimeter centimetre 厘米",
    "decimeter": "dm decimeter decimetre 分米",
    "meter": "m meter metre 米",
    "kilometer": "km kilometer kilometre 千米 公里",
    "inch": "inch inches",
    "foot": "ft foot feet",
    "yard": "yd yard",
    "mile": "mi mile",
    "milligram": "mg milligram",
    "gram": "g gram 克",
    "kilogram": "kg kilogram 千克 公斤",
    "tonne": "ton tonne 吨",
    "ounce": "oz ounce",
    "milliliter": "ml milliliter millilitre 毫升",
    "liter": "l liter litre 升",
    "gallon": "gal gallon",
    "second": "s sec second 秒",
    "minute": "min minute 分钟",
    "hour": "h hr hour 小时",
    "day": "day 天",
    "week": "week 周",
    "month": "month 月",
    "year": "yr year 年 岁",
    "degree": "deg degree degrees 度",
    "radian": "rad radian",
    "dollar": "dollar dollars buck",
    "cent": "cent",
    "euro": "euro",
    "yuan": "yuan 元",
    "joule": "joule",
    "newton": "newton",
    "watt": "watt",
    "volt": "volt",
}
_CANONICAL = {name: unit for unit, names in _GROUPS.items() for name in names.split()}

NOT_UNITS = frozenset(
    [
        "pi",
        "e",
        "i",
        "x",
        "y",
        "z",
        "a",
        "b",
        "c",
        "n",
        "k",
        "t",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
        "sqrt",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "and",
        "or",
        "abs",
        "choose",
        "mod",
    ]
)
"""Words after a number that are mathematics, never a unit."""

_WORD = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]+")


def canonical_unit(words: str) -> str:
    """Canonical name of the unit in ``words``; empty for a mere noun such as *apples*.

    ``square``, ``cubic``, ``per`` and powers are kept: ``square meters`` and ``m^2`` are one, ``meter`` another.
    """
    lowered = words.lower()
    parts: list[str] = []
    power = 2 if re.search(r"square|sq\b|平方|\^\s*\{?\s*2|²", lowered) else 0
    power = 3 if re.search(r"cubic|cu\b|立方|\^\s*\{?\s*3|³", lowered) else power
    for word in _WORD.findall(lowered.replace("平方", "").replace("立方", "")):
        known = _CANONICAL.get(word) or _CANONICAL.get(word.rstrip("s"))
        if known:
            parts.append(known)
    if not parts:
        return ""
    return "/".join(parts[:2]) + (f"^{power}" if power else "")


def units_differ(left: str, right: str) -> bool:
    """Tell whether both units are known and not the same. An absent or unknown unit never differs."""
    return bool(left and right and left != right)
