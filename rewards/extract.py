"""Whole response → the statement of its final answer, with spans into the original text.

The strict reading pays only for an answer that is *stated*: boxed, after ``####``, in answer tags, or in a phrase
such as "the answer is". The lenient reading falls back on the last asserted number. Every scan here is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from rewards.base import Span
from rewards.statement import is_hedged, looks_like_value, statement_after

SPRAY = 4
"""This many different answers of one kind are a spray, not an answer."""
MAX_CANDIDATES = 64


class Source(StrEnum):
    """Kinds of statement, strongest first."""

    BOXED = "boxed"
    HASHES = "hashes"
    TAG = "tag"
    PHRASE = "phrase"
    LAST_NUMBER = "last number"


class Found(StrEnum):
    """What the search came to."""

    ANSWER = "answer"
    NOTHING = "nothing"
    HEDGED = "hedged"
    SPRAY = "spray"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One statement of an answer. ``is_final`` marks the explicit words "final answer"."""

    text: str
    span: Span
    source: Source
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Extraction:
    """The decision and what it was taken from. ``answer`` is None exactly when nothing was found."""

    found: Found
    answer: Candidate | None = None
    others: tuple[Candidate, ...] = ()
    note: str = ""


_THINK = re.compile(r"<(/?)think(?:ing)?>", re.I)
_END_OF_TURN = re.compile(r"<\|(?:im_end|endoftext|eot_id|end)\|>|</s>|<eos>|<end_of_turn>")
_RUN_ON = re.compile(
    r"^[ \t#*>]*(?:(?:Question|Problem|Q|Human|User|Instruction|Exercise)\b[ \t]*\d{0,4}[ \t]*\**[:：]"
    r"|(?:问题|题目)\d{0,4}[:：]|<\|im_start\|>)",
    re.M | re.I,
)
_BOX_OPENING = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BARE_BOX = re.compile(r"\\boxed[ \t]+([^\s{}\\$]{1,40})")
_BRACE = re.compile(r"\\.|[{}]", re.S)
_HASHES = re.compile(r"^[ \t>*]*####[ \t]*([^\s#][^\n]*)", re.M)
_HEADING = re.compile(
    r"\d{1,3}[.)]\s+\S|(?:step|part|case|solution|answer|final|conclusion|problem|method)\b", re.I
)
_TAG = re.compile(r"<(/?)answer>", re.I)
_PLACEHOLDER = re.compile(
    r"[\s.…?_]*|(?:your |the )?(?:final )?answer(?: here)?|\\(?:ldots|cdots|dots|text\{\s*\})", re.I
)
_JOINT = re.compile(
    r"[\s$,;、。.()\\*\[\]]*(?P<word>and|or|和|或|或者|及|与)?[\s$,;、(\\*\[\]]*(?:[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?\$?"
)
_ASSERTED_NUMBER = re.compile(
    r"(?<![\w.^_/])[-−]?(?:\$\s?)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+(?:\.\d+)?)?%?(?![\w^/])"
)
_DENIED_BEFORE = re.compile(r"(?:\bnot|n't|\binstead of|\brather than)\s+(?:equal to\s+)?\$?$", re.I)
_DENIED_AFTER = re.compile(r"\$?\s*(?:is|was|would be)\s+(?:wrong|incorrect|not\b)", re.I)


def extract(completion: str, *, lenient: bool = False, several: bool = False) -> Extraction:
    """Find the final answer of ``completion``.

    Args:
        completion: the response exactly as decoded.
        lenient: fall back on the last asserted number when no answer is stated.
        several: the gold is a list, so boxes that stand together are read as one list.
    """
    text = visible_text(completion)
    boxes = _usable(_boxes(text))
    limit = _run_on(text, boxes)
    if limit is not None:
        text = text[:limit]
        boxes = [box for box in boxes if box.span.end <= limit]
    candidates = boxes + _superseding(text, boxes) if boxes else _weaker(text)
    if not candidates and lenient:
        candidates = _last_numbers(text)
    return (
        _decide(text, candidates, several)
        if candidates
        else Extraction(Found.NOTHING, note=_why_nothing(text))
    )


def visible_text(completion: str) -> str:
    """Blank out the thinking and what follows the end of the turn, keeping every offset."""
    end = _END_OF_TURN.search(completion)
    text = completion[: end.start()] if end else completion
    if "<" not in text:
        return text
    start, opened = 0, None
    for tag in _THINK.finditer(text):
        if tag[1]:
            begin = start if opened is None else opened
            text = text[:begin] + "\n" * (tag.end() - begin) + text[tag.end() :]
            start, opened = tag.end(), None
        elif opened is None:
            opened = tag.start()
    return text if opened is None else text[:opened]


def _run_on(text: str, boxes: list[Candidate]) -> int | None:
    """Where a hallucinated next question begins, once an answer has been stated."""
    if not _RUN_ON.search(text):
        return None
    stated = _usable([*boxes, *_hashes(text), *_tags(text), *_phrases(text, boxes)])
    if not stated:
        return None
    found = _RUN_ON.search(text, min(candidate.span.end for candidate in stated))
    return found.start() if found else None


def _boxes(text: str) -> list[Candidate]:
    if "\\boxed" not in text and "\\fbox" not in text:
        return []
    openings = {found.end() - 1: found.end() for found in _BOX_OPENING.finditer(text)}
    found: list[Candidate] = []
    stack: list[int] = []
    inside_box = 0
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            stack.append(brace.start())
            inside_box += brace.start() in openings
        elif brace[0] == "}" and stack:
            opening = stack.pop()
            if opening in openings:
                inside_box -= 1
                if inside_box == 0:  # of nested boxes the outermost counts
                    span = Span(openings[opening], brace.start())
                    found.append(Candidate(text[span.start : span.end], span, Source.BOXED))
    if not found:
        found = [Candidate(m[1], Span(m.start(1), m.end(1)), Source.BOXED) for m in _BARE_BOX.finditer(text)]
    return found[-MAX_CANDIDATES:]


def _hashes(text: str) -> Iterator[Candidate]:
    if "####" not in text:
        return
    for found in _HASHES.finditer(text):
        body = found[1].rstrip(" \t*")
        if not _HEADING.match(body) and looks_like_value(body):
            yield Candidate(body, Span(found.start(1), found.start(1) + len(body)), Source.HASHES)


def _tags(text: str) -> Iterator[Candidate]:
    opened: int | None = None
    for tag in _TAG.finditer(text) if "<" in text else ():
        if not tag[1]:
            opened = tag.end()
        elif opened is not None:
            inner = text[opened : tag.start()]
            body = inner.strip()
            start = opened + len(inner) - len(inner.lstrip())
            yield Candidate(body, Span(start, start + len(body)), Source.TAG)
            opened = None


def _phrases(text: str, boxes: list[Candidate], start: int = 0) -> Iterator[Candidate]:
    """Statements in words. One that merely introduces a box is the box, not a second answer."""
    for statement in statement_after(text, start):
        span = Span(statement.start, statement.end)
        if not any(box.span.start < span.end and span.start < box.span.end for box in boxes):
            yield Candidate(text[span.start : span.end], span, Source.PHRASE, statement.is_final)


def _weaker(text: str) -> list[Candidate]:
    """The strongest kind that is present when nothing is boxed."""
    hashes = _usable(_hashes(text))
    if hashes:
        return hashes
    phrases = _usable(_phrases(text, []))
    tags = _usable(_tags(text))
    if tags:
        within = [
            p for p in phrases if any(t.span.start < p.span.start and p.span.end <= t.span.end for t in tags)
        ]
        return [replace(phrase, source=Source.TAG) for phrase in within] or tags
    return phrases


def _superseding(text: str, boxes: list[Candidate]) -> list[Candidate]:
    """An explicit "final answer" after the last box, if it states a value."""
    later = _usable(_phrases(text, boxes, boxes[-1].span.end))
    return [phrase for phrase in later if phrase.is_final and looks_like_value(phrase.text)]


def _usable(candidates: Iterator[Candidate] | list[Candidate]) -> list[Candidate]:
    r"""Leave out empty boxes and placeholders such as ``\boxed{?}``: they state nothing."""
    return [c for c in candidates if not _PLACEHOLDER.fullmatch(c.text.strip())][-MAX_CANDIDATES:]


def _last_numbers(text: str) -> list[Candidate]:
    last: re.Match[str] | None = None
    for found in _ASSERTED_NUMBER.finditer(text):
        before = text[max(0, found.start() - 24) : found.start()]
        if not _DENIED_BEFORE.search(before) and not _DENIED_AFTER.match(text, found.end()):
            last = found
    return [] if last is None else [Candidate(last[0], Span(*last.span()), Source.LAST_NUMBER)]


def _decide(text: str, candidates: list[Candidate], several: bool) -> Extraction:
    answer = candidates[-1]
    same_kind = [candidate for candidate in candidates if candidate.source is answer.source]
    together = _standing_together(text, same_kind)
    others = tuple(candidate for candidate in candidates if candidate is not answer)
    if several and len(together) > 1:
        joined = Candidate(
            ", ".join(candidate.text for candidate in together),
            Span(together[0].span.start, answer.span.end),
            answer.source,
        )
        return Extraction(Found.ANSWER, joined, tuple(c for c in candidates if c not in together))
    if len({_squeezed(c.text) for c in same_kind}) >= SPRAY:
        return Extraction(Found.SPRAY, answer, others, f"{len(same_kind)} different answers in a row")
    if not several and (is_hedged(answer.text) or _joined_by_or(text, together)):
        return Extraction(Found.HEDGED, answer, others, "more than one answer is offered")
    return Extraction(Found.ANSWER, answer, others)


def _standing_together(text: str, same_kind: list[Candidate]) -> list[Candidate]:
    """The run of boxes that ends with the last one and has only a comma, "and" or "or" between."""
    group = [same_kind[-1]]
    if same_kind[-1].source is not Source.BOXED:
        return group
    for earlier in reversed(same_kind[:-1]):
        if _joint(text, earlier, group[0]) is None:
            break
        group.insert(0, earlier)
    return group


def _joint(text: str, left: Candidate, right: Candidate) -> str | None:
    """The word between two boxes ('' for a comma or nothing), or None when they stand apart."""
    between = text[left.span.end + 1 : right.span.start]
    between = re.sub(r"\\boxed\s*\{$|\\fbox\s*\{$", "", between)
    found = _JOINT.fullmatch(between) if len(between) <= 32 and between.count("\n") < 2 else None
    return (found["word"] or "") if found else None


def _joined_by_or(text: str, together: list[Candidate]) -> bool:
    if len({_squeezed(candidate.text) for candidate in together}) < 2:
        return False
    return any(_joint(text, left, right) in ("or", "或", "或者") for left, right in pairwise(together))


def _squeezed(text: str) -> str:
    return "".join(text.split()).rstrip(".")


def _why_nothing(text: str) -> str:
    if _BOX_OPENING.search(text):
        return "the box is empty or never closed"
    return "no answer is stated" if text.strip() else "there is no text outside the thinking"
