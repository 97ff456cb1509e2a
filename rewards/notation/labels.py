"""What stands around a value without being part of it: delimiters, labels, words such as *approximately*."""

from __future__ import annotations

import re

from rewards.notation.units import CHANGING_WORDS, NOT_UNITS

_OUTER = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("__", "__"),
    ('"', '"'),
    ("`", "`"),
    ("'", "'"),
)
_TRAILING = " \t\r\n\f\v\u2009.,;:?。，；、？！"
_LEADING_WORDS = re.compile(
    r"(?:(?:exactly|approximately|approx\.?|about|roughly|around|only|just|simply|equal to|equals|option"
    r"|choice|precisely|a total of|an average of|therefore|thus|hence|so|is|are|was|would be|will be|that is)\s+"
    r"|(?:the\s+)?(?:year|number|value|total|fraction|integer)\s+(?=[\d-])|[-=]>\s*|\\(?:approx|simeq|sim|therefore|implies|Rightarrow|to)(?![A-Za-z])\s*|[≈~≒∴]\s*|=(?!=)\s*)+",
    re.I,
)
_CHINESE_LEADING = re.compile(
    r"(?:大约|大概|约为|约是|约|正好|恰好|只有|一共有?|总共有?|共有?|还有|还剩下?|等于|为|是|有)+(?=[-\d\\$¥第一二三四五六七八九十两半百负])"
)
_LABEL = re.compile(
    r"([A-Za-z][A-Za-z' ]{1,60}?)(?:_\{?\w{1,20}\}?)?(?:\s*\([^()]{1,20}\))?\s*(?:=|:|\bis\b|\bare\b|\bwas\b)\s*(?=\S)"
)
_TAKING_BACK = CHANGING_WORDS | {
    "if",
    "suppose",
    "assume",
    "below",
    "above",
    "under",
    "over",
    "without",
    "twice",
    "bad",
}
_CHINESE_LABEL = re.compile(
    r"(?![\u4e00-\u9fff]{0,15}(?:[不错非没半倍除假若最超几]|至少|至多|[大小少多高低]于))[\u4e00-\u9fff]{1,16}(?:\s*[=:]\s*|(?:是|为|等于|有)(?=[-\d\\$¥]))(?=\S)"
)
_ONLY_WORDS = re.compile(r"[A-Za-z\s\ue000\ue001]{2,}")
_FUNCTION_LABEL = re.compile(r"[A-Za-z](?:\^\{?(?:-1|\\prime\s*)\}?)?\s*\(\s*[a-z]\s*\)\s*=\s*(?=\S)")
_RELATION = re.compile(r"[<>]|\\(?:in|leq?|geq?|ne)(?![A-Za-z])")


def strip_outer(text: str) -> str:
    """Remove trailing punctuation and matching delimiters around the whole text, layer by layer."""
    for _ in range(6):
        before = text
        text = text.strip().rstrip(_TRAILING) if text[-1:] in _TRAILING else text.strip()
        for opening, closing in _OUTER:
            if (
                text.startswith(opening)
                and text.endswith(closing)
                and len(text) > len(opening) + len(closing)
            ):
                inside = text[len(opening) : -len(closing)]
                if opening not in inside and closing not in inside and not inside.endswith("\\"):
                    text = inside.strip()
        if text == before:
            break
    return text.strip("* ") if "**" in (text[:2], text[-2:]) else text


def drop_labels(text: str) -> str:
    """Drop ``Total cost =``, ``Area:``, ``f(x) =`` and words such as *about* before the value."""
    for _ in range(3):
        before = text
        text = _LEADING_WORDS.sub("", text, count=1) if _LEADING_WORDS.match(text) else text
        text = _drop_label(text)
        if "\u4e00" <= text[:1] <= "\u9fff":
            text = _CHINESE_LEADING.sub("", _CHINESE_LABEL.sub("", text, count=1), count=1)
        if text == before:
            break
    return text


def _drop_label(text: str) -> str:
    if not text[:1].isalpha() or not text[:1].isascii():
        return text
    found = _FUNCTION_LABEL.match(text)
    if not found:
        found = _LABEL.match(text)
        words = found[1].lower().split() if found else []
        if not any(len(word) > 2 for word in words):
            return text
        if not NOT_UNITS.isdisjoint(w for w in words if len(w) > 1) or not _TAKING_BACK.isdisjoint(words):
            return text
        if found and _RELATION.match(text, found.end()):
            return text
        if found and "=" in found[0] and _ONLY_WORDS.fullmatch(text, found.end()):
            return text  # two words said to be equal
    return text[found.end() :] if found else text
