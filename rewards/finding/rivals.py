"""Which of several statements counts, and whether they leave one answer at all."""

from __future__ import annotations

import re
from itertools import pairwise

from rewards.finding.boxes import joined, together
from rewards.finding.candidates import Candidate, Extraction, Found, Kind, Loser, Source, Wanted
from rewards.finding.hedging import is_hedged, squeezed

SPRAY = 4
"""This many different answers of one kind are a spray, not an answer."""
_OR_AFTER = re.compile(
    r"[\s$})\]*.,;\\]*(?:\(\s*)?(?:(?:and|but|或者)\s+)?(?:or\b|alternatively\b|maybe\b|perhaps\b|possibly\b|otherwise\b|else\b|(?:it|the answer) (?:could|might|may) (?:also |instead )?be\b|或者?|也可能是?)"
    r"[^\n.;。]{0,40}?([$\\({]{0,2}[-−]?\d[\d.,/]*|\\boxed\{[^{}]{1,40}\}|\\frac\{\w+\}\{\w+\}|(?<![A-Za-z])[A-J](?![A-Za-z])|\(?[A-J]\))",
    re.I,
)
_OPTIONS = re.compile(
    r"(?:^|\n)[\W]*or\b|\b(?:option|case|possibility|alternative|scenario|alternatively|otherwise)\b", re.I
)
_LIST_AFTER = re.compile(r"[\s$)}*]*(?:;|,[ \t]*\n|…+|\.\.\.)\s*\$?[-−]?\d")
_LETTER_AFTER = re.compile(
    r"[\s)}*$]*(?:\.{1,3}|…|→|>|->|,|;)?\s*(?i:(?:no|wait|actually|though|or|and|but|maybe|sorry)\b,?\s*){0,3}(?:make that\s+)?\(?([B-HJ]|[AI](?![ ]+(?!is\b|or\b|and\b|also\b)[A-Za-z]))(?![A-Za-z'])(?!\s+is (?:not|wrong|incorrect|too))"
)
_WORD_AFTER = re.compile(
    r"[\s)}*$]*(?:;\s*\w|[.!,…]*\s*(?:no|wait|actually|sorry|oops)\b[,.!]|[.!]\s*(?:yes|no|true|false)\s*[.!]?\s*$)",
    re.I,
)
_OR_NOTHING = re.compile(
    r"[\s$})*,]*\bor\b\s+(?:it\b|not\b|none|nothing|more\b|less\b|higher|lower|something|infinite|undefined|its\b|twice|so\b,|minus|negative|half|double|anything|another|other|perhaps|maybe|possibly|even)",
    re.I,
)
_OR_BEFORE = re.compile(
    r"(?:\d|[})$]|\b[A-J])[\s$.,]*(?:\bor|或|或者)[\s$\\({\[*]*(?:\\?boxed\s*\{?|fbox\s*\{?)?$", re.I
)


def decide(text: str, candidates: list[Candidate], losers: list[Loser], wanted: Wanted) -> Extraction:
    """Decide between ``candidates``, the last of which comes first; ``losers`` are those that fell out before."""
    answer = candidates[-1]
    same_kind = [candidate for candidate in candidates if candidate.source is answer.source]
    group, has_or = (
        together(text, same_kind)
        if answer.source is Source.BOXED and len(same_kind) > 1
        else ([answer], False)
    )
    lost = [
        *losers,
        *(Loser(c, _why_it_lost(c, answer)) for c in candidates if c is not answer and c not in group),
    ]
    if wanted.several and len(group) > 1 and not _is_list(answer.text):
        return Extraction(Found.ANSWER, joined(text, group), tuple(lost))
    values = [squeezed(c.value_text) for c in same_kind] if len(same_kind) > 1 else []
    if len(group) > 1:
        together_with = tuple(Loser(c, "another answer stands beside it") for c in group if c is not answer)
        if wanted.kind is Kind.OTHER and not has_or and _is_named(joined(text, group).text):
            return Extraction(Found.ANSWER, joined(text, group), tuple(lost))
        return Extraction(Found.HEDGED, answer, (*lost, *together_with), "more than one answer is offered")
    if not wanted.several and len(same_kind) > 1 and values[-1] != values[-2]:
        between = text[same_kind[-2].span.end : answer.span.start]
        if len(between) < 60 and _OPTIONS.search(between):
            return Extraction(Found.HEDGED, answer, tuple(lost), "more than one answer is offered")
    changes = sum(a != b for a, b in pairwise(values))
    if len(set(values)) >= SPRAY or (changes >= 3 and answer.source is not Source.BOXED):
        return Extraction(Found.SPRAY, answer, tuple(lost), f"{len(same_kind)} different answers in a row")
    if not wanted.several and (is_hedged(answer.text, wanted.words) or _offers_another(text, answer, wanted)):
        return Extraction(Found.HEDGED, answer, tuple(lost), "more than one answer is offered")
    return Extraction(Found.ANSWER, answer, tuple(lost))


def _why_it_lost(candidate: Candidate, answer: Candidate) -> str:
    if candidate.source is not answer.source:
        return "a later final answer supersedes it"
    return (
        "it says the same earlier"
        if squeezed(candidate.text) == squeezed(answer.text)
        else "a later one replaces it"
    )


def _is_list(text: str) -> bool:
    """Tell whether a box holds a list by itself: a comma outside brackets."""
    depth = 0
    for char in text[:400]:
        depth += char in "([{"
        depth -= char in ")]}"
        if char == "," and depth == 0:
            return True
    return False


def _is_named(text: str) -> bool:
    return "=" in text


def _offers_another(text: str, answer: Candidate, wanted: Wanted) -> bool:
    r"""Tell whether an alternative stands right before or after the answer: "12. Or 13.", "3 or \boxed{4}"."""
    span = answer.span
    if _OR_NOTHING.match(text, span.end, min(len(text), span.end + 60)):
        return True
    limit = min(len(text), span.end + 100)
    if (
        wanted.kind is Kind.NUMBER
        and answer.source is not Source.BOXED
        and _LIST_AFTER.match(text, span.end, limit)
    ):
        return True
    letter = _LETTER_AFTER.match(text, span.end, limit) if wanted.kind is Kind.CHOICE else None
    if letter and letter[1] != answer.text.strip("() ").upper():
        return True
    if wanted.kind is Kind.WORDS and _WORD_AFTER.match(text, span.end, limit):
        return True
    found = _OR_AFTER.match(text, span.end, min(len(text), span.end + 100))
    if found:
        other = found[1].strip("$\\({} .,")
        other = re.sub(r"^boxed\{", "", other)
        is_letter = len(other) == 1 and other.isalpha()
        if (not is_letter or wanted.kind is Kind.CHOICE) and squeezed(other) != squeezed(answer.text):
            return True
    if answer.source is not Source.BOXED:
        return False
    return bool(_OR_BEFORE.search(text, max(0, span.start - 40), span.start))
