r"""Boxes (``\boxed{…}``) in a text: where they are, what belongs to their value, and which stand together."""

from __future__ import annotations

import re
from dataclasses import replace

from rewards.base import Span
from rewards.finding.candidates import MAX_CANDIDATES, Candidate, Source
from rewards.finding.hedging import squeezed
from rewards.notation.units import canonical_unit

_OPENING = re.compile(r"(?:\\|\x08)(?:boxed|fbox|framebox|bbox)[ \t]*(?:\[[^\]\n]{0,40}\])?[ \t]*\{")
_BARE = re.compile(r"\\(?:boxed|fbox)(?:[ \t]+|(?=[\d\\]))(-?(?:\\d?frac\d\d|[^\s{}\\$]{1,40}))")
_BRACE = re.compile(r"\\.|[{}]", re.S)
_CLOSES = re.compile(r"\\[)\]]|\$+")
_AFTER = re.compile(
    r"\}?[ \t]*(?:\$|\\\))?[ \t]*(?:\\[ ,;:!]|~)*[ \t]*"
    r"(?P<unit>\\(?:text|mathrm|textrm|rm)\s*\{[^{}\n]{1,40}\}(?:\^\{?[23]\}?)?|\\?%|％|\^\s*\{?\\circ\}?|°[CF]?"
    r"|(?P<word>[A-Za-zµμ\u4e00-\u9fff]{1,16}(?:[ \t]*/[ \t]*[A-Za-z]{1,10})?(?:\^\{?[23]\}?|[²³])?))"
)
_WORD_ENDS = re.compile(r"[\s.,;:!)。，；、$*\\]|$")
_NOT_UNITS = frozenset(
    [
        "a",
        "an",
        "as",
        "at",
        "by",
        "i",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "so",
        "to",
        "we",
        "the",
        "and",
        "per",
        "are",
        "was",
        "for",
        "has",
        "but",
    ]
)
_JOINT = re.compile(
    r"[\s$,;、，。.()\\*\[\]{}&|-]*(?:(?P<word>and also|and|or else|or|otherwise|alternatively|maybe|perhaps|possibly"
    r"|和|以及|或者|或|及|与)(?![a-z]))?[\s$,;:、，(\\*\[\]{}&|-]*"
    r"(?:(?:case|part|root|solution)\s*\(?\w{1,3}\)?\s*[:.)]\s*)?\$*\\?[(\[]?\s*(?:[A-Za-z](?:_\{?\w\}?)?\s*[=:]\s*)?\$*",
    re.I,
)
_SPACING = re.compile(r"\\q?quad(?![A-Za-z])|\\[,;:! ]|\\text\{|\}")
_LOOSE_OR = re.compile(r"\bor\b|或", re.I)
_SENTENCE_OR_NUMBER = re.compile(r"\d|[.。]\s")
_LABEL = re.compile(r"([A-Za-z](?:_\{?\w\}?)?)\s*=\s*\$*\s*$")
_OR_WORDS = frozenset(
    ["or", "or else", "otherwise", "alternatively", "maybe", "perhaps", "possibly", "或", "或者"]
)


def boxes_in(text: str) -> list[Candidate]:
    """The boxes of ``text`` in order; of nested ones the outermost, of very many the last."""
    if "boxed" not in text and "box" not in text:
        return []
    openings = {found.end() - 1: found for found in _OPENING.finditer(text)}
    spans = _closed_boxes(text, openings) if openings else []
    found = [_box(text, openings[brace].start(), brace + 1, end) for brace, end in spans[-MAX_CANDIDATES:]]
    if not found and "\\" in text:
        for bare in _BARE.finditer(text):
            found.append(Candidate(bare[1], Span(*bare.span(1)), Source.BOXED))
    return found[-MAX_CANDIDATES:]


def _closed_boxes(text: str, openings: dict[int, re.Match[str]]) -> list[tuple[int, int]]:
    """Brace and end of every box that closes and lies in no other that does."""
    found: list[tuple[int, int]] = []
    stack: list[int] = []
    for brace in _BRACE.finditer(text, min(openings)):
        if brace[0] == "{":
            stack.append(brace.start())
        elif brace[0] == "}" and stack:
            opening = stack.pop()
            if opening in openings:
                while found and found[-1][0] > opening:
                    found.pop()
                found.append((opening, brace.start()))
    return found


def _box(text: str, start: int, inner: int, end: int) -> Candidate:
    body = text[inner:end]
    box = Candidate(body, Span(inner, end), Source.BOXED)
    before = "-" if text[start - 1 : start] in ("-", "−") and _is_sign(text, start - 1) else ""
    after = _unit_after(text, end + 1)
    return replace(box, before=before, after=after) if before or after else box


def _is_sign(text: str, at: int) -> bool:
    """Tell a minus sign that stands before a box from a dash or a subtraction."""
    return text[:at].rstrip(" \t")[-1:] in ("", "=", "$", "(", "[", ":", "：", "\n") and text[at + 1] == "\\"


def _unit_after(text: str, at: int) -> str:
    r"""The unit or percent sign right after a box: ``\boxed{5}\text{ cm}``, ``\boxed{28}\%``, ``\boxed{5} cm``."""
    found = _AFTER.match(text, at, min(len(text), at + 80))
    if not found:
        return ""
    word = found["word"]
    if word is None:
        return " " + found["unit"]
    if word.lower() == "percent" or (
        len(word) > 1 or (word in "gm" and not found[0].startswith((" ", "$ ")))
    ):
        known = word.lower() == "percent" or (word.lower() not in _NOT_UNITS and canonical_unit(word))
        if known and _WORD_ENDS.match(text, found.end()):
            return " " + word
    return ""


def together(text: str, boxes: list[Candidate]) -> tuple[list[Candidate], bool]:
    """The run of different boxes that ends with the last one, and whether a word such as "or" stands between."""
    group, has_or = [boxes[-1]], False
    for earlier in reversed(boxes[:-1]):
        word = _joint(text, earlier, group[0])
        if word is None:
            break
        group.insert(0, earlier)
        has_or = has_or or word in _OR_WORDS
    return (group, has_or) if len({squeezed(box.value_text) for box in group}) > 1 else ([boxes[-1]], False)


def _joint(text: str, left: Candidate, right: Candidate) -> str | None:
    """The word between two boxes ('' for a comma or nothing), or None when they stand apart."""
    between = text[left.span.end + 1 : right.span.start]
    if len(between) > 80 or between.count("\n") > 2:
        return None
    opening = _OPENING.search(between)
    between = between[: opening.start()] if opening and opening.end() == len(between) else between
    between = _SPACING.sub(" ", between)
    if left.after:
        between = between.replace(left.after.strip(), "", 1)
    found = _JOINT.fullmatch(between)
    if found:
        return (found["word"] or "").lower()
    return "or" if _LOOSE_OR.search(between) and not _SENTENCE_OR_NUMBER.search(between) else None


def joined(text: str, group: list[Candidate]) -> Candidate:
    """The boxes of ``group`` as one list, with their names where they have different ones."""
    labels = [_LABEL.search(text[max(0, box.span.start - 40) : _start(text, box)]) for box in group]
    names = [label[1] if label else "" for label in labels]
    named = all(names) and len(set(names)) == len(names) > 1
    parts = [
        f"{name} = {box.value_text}" if named else box.value_text
        for name, box in zip(names, group, strict=True)
    ]
    span = Span(group[0].span.start, group[-1].span.end)
    return Candidate(", ".join(parts), span, group[-1].source)


def _start(text: str, box: Candidate) -> int:
    """Where the command of ``box`` begins."""
    return max(text.rfind("\\", max(0, box.span.start - 60), box.span.start), 0)
