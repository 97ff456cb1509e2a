"""What stands beside a value: currency signs before or after it, a unit or a noun after it."""

from __future__ import annotations

import re

from rewards.notation.characters import DOLLAR, WORDS_CLOSE, WORDS_OPEN
from rewards.notation.numerals import shifted
from rewards.notation.units import (
    CHANGING_CHINESE,
    CHANGING_WORDS,
    NOT_UNITS,
    STOP_WORDS,
    begins_with_unit,
    canonical_unit,
    is_currency,
    unit_of_word,
)

_SIGNS = {
    **{
        "$": "USD",
        DOLLAR: "USD",
        "US$": "USD",
        "A$": "AUD",
        "AU$": "AUD",
        "C$": "CAD",
        "CA$": "CAD",
        "R$": "BRL",
    },
    **{
        "HK$": "HKD",
        "€": "EUR",
        "£": "GBP",
        "¥": "¥",
        "₹": "INR",
        "₩": "KRW",
        "₽": "RUB",
        "₺": "TRY",
        "₫": "VND",
    },
    **{"₪": "ILS", "₦": "NGN", "฿": "THB", "₱": "PHP", "¢": "cent"},
}
_CODES = "RM|USD|EUR|GBP|RMB|CNY|JPY|INR|AUD|CAD|CHF|KRW|RUB|MXN|BRL|Rs\\.?|rs\\.?"
_SIGN = rf"(?:(?<![A-Za-z])(?:US|AU?|CA?|HK|R)\s?)?[${DOLLAR}]|[€£¥₹₩₽₺₫₪₦฿₱¢]|(?<![A-Za-z\\])(?:{_CODES})(?![A-Za-z])"
_CURRENCY = re.compile(_SIGN)
_SHORT_SCALE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,15})?)\s?(?P<scale>[kKmMbB]|mn|bn)(?:illion)?")
_SCALES = {"k": 3, "m": 6, "b": 9, "mn": 6, "bn": 9}
_TAIL = re.compile(
    rf"(?:\s|{WORDS_OPEN}[^{WORDS_OPEN}{WORDS_CLOSE}]*{WORDS_CLOSE}|\^\s*(?:\{{\s*[+-]?\d\s*\}}|[+-]?\d)|[/*().,-]|degrees"
    r"|(?<![A-Za-z])[A-Za-z]{1,12}(?![A-Za-z]))+"
)
_WORD = re.compile(r"(?P<slash>\\?)(?P<word>[A-Za-z]+|[\u4e00-\u9fff]+|°)")
_VALUE_END = re.compile(r".*(?:[\d})%!|\]]|\\pi|pi|\\infty|[A-Za-z])", re.S)
_PLAIN_END = re.compile(r".*(?:[\d})%!]|\\pi|(?<![A-Za-z])pi)", re.S)
_UNIT_TEXT = re.compile(
    r"(?:[A-Za-z\u4e00-\u9fff' .,/(){}*·:;!-]|\\(?:mu|Omega|circ|degree)(?![A-Za-z])|\^\s*\{?\s*[+-]?\s*\d\s*\}?"
    r"|(?<=[A-Za-z])[23](?!\w))+"
)
_IN_VALUE = frozenset(("pi", "sqrt", "frac"))
_INCH_MARK = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(''|')")
_LAST_SIDE = re.compile(r"(.*[<>=]\s*)([^<>=]*)", re.S)
_UNIT_FRACTION = re.compile(
    rf"\\frac\{{\s*{WORDS_OPEN}([^{WORDS_OPEN}{WORDS_CLOSE}]*){WORDS_CLOSE}\s*\}}"
    rf"\{{\s*{WORDS_OPEN}([^{WORDS_OPEN}{WORDS_CLOSE}]*){WORDS_CLOSE}\s*\}}\Z"
)
_ASCII_WORD = re.compile(r"[A-Za-z]+")
_HEAD = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]")
_PREPOSITIONS = frozenset(("of", "in", "per", "out", "all", "for", "at", "on", "to", "left"))
_OPERATORS = frozenset("+-*/^=<>,(_")
_PERSON_OR_TIME = re.compile(r"\d")


def split_currency(text: str) -> tuple[str, str]:
    """Take the currency signs out of ``text``; dollar signs in pairs are left-over math delimiters."""
    if "$" in text and text.count("$") % 2 == 0:
        text = text.replace("$", " ").strip()
    found = _CURRENCY.search(text)
    if not found:
        return text, ""
    sign = found[0].replace(" ", "").replace(DOLLAR, "$")
    unit = _SIGNS.get(sign) or unit_of_word(sign.rstrip(".")) or "USD"
    bare = _CURRENCY.sub("", text).strip()
    scaled = _SHORT_SCALE.fullmatch(bare)
    if scaled:
        bare = shifted(scaled["number"], _SCALES[scaled["scale"].lower()])
    return bare, unit


def split_unit(text: str) -> tuple[str, str]:
    r"""Split ``12 meters`` into ``12`` and ``m``; leave variables such as ``2x`` or ``3 \pi`` alone."""
    if WORDS_OPEN in text:
        text = _UNIT_FRACTION.sub(rf"{WORDS_OPEN}\1/\2{WORDS_CLOSE}", text.rstrip())
        found = _split_marked(text)
        if found is not None:
            return found
        text = " ".join(text.replace(WORDS_OPEN, " ").replace(WORDS_CLOSE, " ").split())
    return _split_plain(text)


def _split_marked(text: str) -> tuple[str, str] | None:
    r"""Words that stood in ``\text{…}`` at the end, whatever the value is; None if there are none."""
    tail = text.find(WORDS_OPEN)
    while tail >= 0 and not _TAIL.fullmatch(text, tail):
        tail = text.find(WORDS_OPEN, tail + 1)
    value = text[:tail].rstrip() if tail > 0 else ""
    if not value or WORDS_OPEN in value or not _VALUE_END.fullmatch(value):
        return None
    words = " ".join(text[tail:].replace(WORDS_OPEN, " ").replace(WORDS_CLOSE, " ").split())
    if value.endswith("degrees"):
        value, words = value.removesuffix("degrees").rstrip(), f"degrees {words}"
    head = _HEAD.search(words)
    word = head[0].lower() if head else ""
    unit = canonical_unit(words.strip(" (){}.,"))
    if _changes_the_value(words, unit):
        return None
    if (
        (word in NOT_UNITS and not unit)
        or (len(word) < 2 and not unit and word.isascii())
        or word in ("and", "or", "if")
    ):
        return None
    if re.search(r"\d", re.sub(r"\^\s*\{?\s*[+-]?\d|[A-Za-z]\d", "", words)) or value[-1] in _OPERATORS:
        return None
    return value, unit


def _split_plain(text: str) -> tuple[str, str]:
    marks = _INCH_MARK.fullmatch(text)
    if marks:
        return marks[1], "ft" if marks[2] == "'" else "in"
    sides = _LAST_SIDE.fullmatch(text)
    label, tail = (sides[1], sides[2]) if sides else ("", text)
    start = _first_word(tail)
    if start is None or len(tail) - start > 200:
        return text, ""
    value = tail[:start].rstrip(" -(")
    words = " ".join(tail[start:].split())
    if not _PLAIN_END.fullmatch(value) or not _UNIT_TEXT.fullmatch(words):
        return text, ""
    head = _HEAD.match(words)
    word, apart = (head[0] if head else ""), tail[len(value)] in " -("
    unit = canonical_unit(words.strip(" (){}.,"))
    if _is_mathematics(word, words, apart, unit):
        return text, ""
    if unit and is_currency(unit):
        scaled = _SHORT_SCALE.fullmatch(value.strip())
        value = shifted(scaled["number"], _SCALES[scaled["scale"].lower()]) if scaled else value
    return (label + value).strip(), unit


def _first_word(text: str) -> int | None:
    """Where the first word begins that does not belong to the value."""
    for found in _WORD.finditer(text):
        word = found["word"]
        if found["slash"]:
            if word not in _IN_VALUE and word not in ("mu", "Omega", "cdot", "infty"):
                return None
            if word in ("mu", "Omega"):
                return found.start()
        elif word not in _IN_VALUE and not (word in ("e", "i") and _glued(text, found)):
            return found.start()
    return None


def _glued(text: str, found: re.Match[str]) -> bool:
    """Tell whether the letter is part of a formula (``2e``, ``3i``) and more of the value follows."""
    return not text[found.end() : found.end() + 1].isalpha()


def _is_mathematics(word: str, words: str, apart: bool, unit: str) -> bool:
    """Tell words that belong to the mathematics (``2x``, ``5 or``) from a unit or a noun."""
    if _changes_the_value(words, unit) or not (word or unit):
        return True
    if not word:
        return False
    if not word.isascii():
        return words[0] in "或和与且及"
    lowered = word.lower()
    if unit and begins_with_unit(words) and (apart or len(word) > 1) and lowered not in STOP_WORDS - {"in"}:
        return False
    if lowered in NOT_UNITS:
        return True
    if re.search(r"[,;:]|\b(?:and|or)\b", words) and _PERSON_OR_TIME.search(words):
        return True
    return not _is_noun(word, apart)


def _changes_the_value(words: str, unit: str) -> bool:
    """Tell words that make another value (*squared*, *more than x*, 多) from a unit or a noun."""
    if CHANGING_CHINESE.search(words) and not unit:
        return True
    known = [word.lower() for word in _ASCII_WORD.findall(words)]
    if any(word in CHANGING_WORDS and not (unit and word in ("squared", "cubed")) for word in known):
        return True
    return not unit and any(len(word) == 1 and word not in "a" for word in known)


def _is_noun(word: str, apart: bool) -> bool:
    """Tell a noun (*apples*, *of the cake*) from a run of variables (``xy``)."""
    if len(word) > 3 or (apart and word in _PREPOSITIONS):
        return True
    return apart and len(word) == 3 and not set("aeiou").isdisjoint(word.lower())
