"""Everything in a response that states an answer, and what disqualifies some of it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from rewards.base import Span
from rewards.finding.boxes import boxes_in
from rewards.finding.candidates import MAX_CANDIDATES, Candidate, Kind, Loser, Source, Wanted
from rewards.finding.clause import states_otherwise, value_in
from rewards.finding.last_sentence import last_assertion
from rewards.finding.statement import statement_after
from rewards.finding.value_range import UNCLEAR, looks_like_value, value_range

WEAKER = "a stronger kind of statement is there"
EMPTY = "it is empty"
PART = "it is a part of a larger expression"
_CALLED_WRONG = re.compile(r"\b(?:wrong|incorrect)\b", re.I)
_PART_BEFORE = re.compile(
    r"(?:[\d.]|(?:[+*/^<≤≥≠·×÷]|(?<![A-Za-z\"/=>\n-])(?<!\A)>)[ \t]*|(?<![-\n])(?<=[\w)}])[ \t]*[-−][ \t]*|\\(?:cdot|times|div|neq?|leq?|geq?|lt|gt|log|ln|sin|cos|tan|pm|mp|d?frac|sqrt)"
    r"(?:\[[^\]\n]{0,6}\])?[ \t]*\{?[ \t]*)\Z"
)
_PART_AFTER = re.compile(
    r"\}[ \t]*(?:\^(?!\s*\{?\s*\\?circ)|[+*<>≤≥≠·×÷][ \t]*[\w\\({]|[-−][ \t]*\d|/[ \t]*[\d\\({]|\{,\}\d|,\d{3}|\d|\\(?:cdot|times|div|sqrt|pi|d?frac|neq?|leq?|geq?|lt|gt)(?![A-Za-z])"
    r"|!(?=\s*[+*/^)=])|\$?[ \t]*(?:hundred|thousand|million|billion|trillion|dozen)\b|\$?[ \t]*[万亿])"
)
_UNREAL_BOX = re.compile(
    r"\b(?:wrong to|(?:do|does|did|would|should)(?: not|n't) (?:answer|be|choose|write|think|believe|confuse)|suppose (?:that )?the answer|assume (?:that )?the answer"
    r"|if the answer|the answer would be|the format is|format[: ]|confuse it with|mistake it for|for example|e\.g\.|intermediate value|instead of)\b[^.!?\n]*$",
    re.I,
)
RUN_ON = re.compile(
    r"^[ \t#*>]*(?:(?:Question|Problem|Q|Human|User|Instruction|Exercise|Example|Assistant|Task|Prompt)\b[ \t]*#?\d{0,4}[ \t]*\**[:：]"
    r"|(?:Question|Problem|Exercise|Q)[ \t]*\d{0,4}[ \t]*\**[ \t]*(?:[.?]|$)|Q\d{1,4}\b|(?:now[ \t]+)?(?:an?[ \t]+)?(?:next|another|new|similar|second)[ \t]+(?:question|problem|exercise|example)\b"
    r"|let(?:'s| us)[ \t]+(?:try|do|solve)[ \t]+another|(?:user|human)[ \t]*$|(?:问题|题目|例题|例|下一题)\d{0,4}[:：])|<question>|<\|(?:im_start|start_header_id|user|assistant|start)\|>|<start_of_turn>|\[/?INST\]",
    re.M | re.I,
)
RUN_ON_MARKS = ("\n", "：", "<|", "<start_of_turn>", "INST]", "<question>")
_HASHES = re.compile(r"####(?!#)[ \t]*(?:\n[ \t]*)?([^\s#][^\n]*)")
_HEADING = re.compile(
    r"\d{1,3}[.)]\s+\S|(?:step|part|case|solution|answer|final|conclusion|problem|method|given|summary|the answer)\b|答案|最终|解",
    re.I,
)
_TAG = re.compile(r"<(/?)(?:final[_ ]?)?(?:answer|ans)>|\[(/?)answer\]", re.I)
_PLACEHOLDER = re.compile(
    r"[\s.…?？_*$~-]*|\W*(?:your |the |my |final |correct )*(?:answer|result|value|number|solution|choice)(?: here| goes here)?\W*"
    r"|(?:\\(?:ldots|cdots|dots|quad|[,;:! ])|\\text\{\s*\}|\{\s*\}|\\(?:text|mathrm)\{\s*(?:answer|final answer|your answer)\s*\}"
    r"|\\(?:boxed|fbox)\{\s*\}|\s)*|答案|\.\.\.",
    re.I,
)
_DENIED_BEFORE = re.compile(
    r"(?:\bnot|n't|\binstead of|\brather than|\bneither|\bnor|\bnever|\b(?:wrong|incorrect) answer|不是|而非)"
    r"\s*(?:\bbe\b\s*)?(?:equal to\s+|:\s*)?[$\\(\[*\s]*(?:\\?(?:boxed|fbox)\s*\{?)?$",
    re.I,
)
_DENIED_AFTER = re.compile(
    r"(?:</\w{1,12}>)?[\s$})\]*.,\\\"”’]*(?:which |that )?(?:\(?\s*(?:wrong|incorrect|false)\s*\)|(?:is|was|would be|seems|looks)\s+(?:\w+\s+)?(?:wrong|incorrect|not\b|impossible|a mistake|extraneous|false)|isn't|cannot be|can't be|just kidding|not really|i meant?\b|not!|false\b|is what (?:i|you|one|an?|people)\b|that is what\b|would be the answer|is wrong|,? but (?:it|the answer) is|是错|不对|错了"
    r"|(?:no|nope|wait|hmm|actually|sorry|oops|correction|scratch that)\b[,.!:;… —–-]+(?:(?:no|it should be|i meant?|wait|actually|it(?:'s| is)|that(?:'s| is)|make that|i mean|rather)\b[,\s]*)*[$\\({]{0,3}[-−]?\d"
    r"|(?:(?:hmm|wait|no|oh|oops|but|sorry|actually|等等|不)[\s,.，。!…]*){0,4}(?:(?:but|because)\s+)?(?:(?:that|this|it)(?:'s| is| was| cannot be| can't be| does not|'s not| isn't)"
    r"\s*(?:\w+\s+){0,2}?(?:wrong|incorrect|right|correct|mistaken|a mistake|work|true|off)|i (?:made|forgot|miscounted|dropped|misread)|我算错|这是错|不对))",
    re.I,
)
_AFFIRMED = re.compile(r"(?:that|this|it)(?:'s| is| was) (?:\w+ ){0,2}?(?:right|correct|true)\b", re.I)
_NOT_AFFIRMED = re.compile(
    r"(?:not|n't|never|hardly) (?:\w+ ){0,2}?(?:right|correct|true)|can't|cannot", re.I
)
_UNKNOWN = re.compile(
    r"\b(?:don't know|do not know|unknown|cannot|can't|not sure|undetermined|no answer|unclear)\b|不知道|无法",
    re.I,
)
_FORGED = re.compile(r'"(?:correct|verdict|strict|lenient|reward|score|gold)"\s*:')
_JSON = re.compile(
    r'"(?:final_?)?(?:answer|ans|最终答案|答案)"\s*:\s*(?:"((?:[^"\\\n]|\\.){0,400})"|([^\s",}\]][^",}\]\n]{0,200})|(\[[^\]\n]{0,200}\]))',
    re.I,
)


def stated(text: str, wanted: Wanted, losers: list[Loser], cut_off: bool) -> list[Candidate]:
    """The statements that count: those of the strongest kind, and what supersedes them. The others go to ``losers``."""
    boxes = _usable(text, boxes_in(text), losers, wanted)
    phrases = _usable(text, _phrases(text, boxes, wanted, losers), losers, wanted, cut_off)
    hashes = (
        _usable(text, _hashes(text, boxes, wanted, losers), losers, wanted, cut_off) if "####" in text else []
    )
    tags = _usable(text, _tags(text, wanted, cut_off), losers, wanted) if "<" in text or "[" in text else []
    if boxes:
        last = boxes[-1].span.end
        withdrawn = any(_is_withdrawal(loser, last) for loser in losers) or any(
            p.is_final and p.span.start > last and _UNKNOWN.search(p.text) for p in phrases
        )
        if withdrawn:
            losers += [Loser(box, "a later final answer takes it back") for box in boxes]
            return []
        later = [
            p for p in (*phrases, *tags) if p.is_final and p.span.start > last and looks_like_value(p.text)
        ]
        losers += [Loser(other, WEAKER) for other in (*hashes, *tags, *phrases) if other not in later]
        return boxes + later
    if tags:
        outside = [
            p
            for p in (*phrases, *hashes)
            if not any(tag.span.start <= p.span.start and p.span.end <= tag.span.end for tag in tags)
        ]
        losers += [Loser(other, WEAKER) for other in outside]
        return [_inner(tag, [*hashes, *phrases]) for tag in tags]
    if hashes and phrases and phrases[-1].is_final and phrases[-1].span.start > hashes[-1].span.end:
        losers += [Loser(other, "a later final answer supersedes it") for other in hashes]
        return phrases
    if hashes:
        losers += [Loser(other, WEAKER) for other in phrases]
        return hashes
    return phrases


def _is_withdrawal(loser: Loser, last: int) -> bool:
    """Tell whether a final answer after the last box says that there is none: "Final answer: unknown"."""
    lost = loser.candidate
    return (
        lost.source is Source.PHRASE
        and lost.is_final
        and lost.span.start > last
        and loser.reason in ("it is denied", EMPTY)
    )


def _inner(tag: Candidate, statements: list[Candidate]) -> Candidate:
    """The last statement inside a tag, or the tag itself."""
    inside = [s for s in statements if tag.span.start <= s.span.start and s.span.end <= tag.span.end]
    return replace(inside[-1], source=Source.TAG) if inside else tag


def _usable(
    text: str,
    candidates: Iterator[Candidate] | list[Candidate],
    losers: list[Loser],
    wanted: Wanted,
    cut_off: bool = False,
) -> list[Candidate]:
    r"""Leave out what states nothing: empty boxes, placeholders such as ``\boxed{?}``, denials, questions."""
    usable = []
    for candidate in candidates:
        fault = _fault(text, candidate, cut_off)
        if not fault and wanted.kind is Kind.NUMBER and states_otherwise(candidate.text):
            fault = UNCLEAR
        if fault:
            losers.append(Loser(candidate, fault))
        else:
            usable.append(candidate)
    return usable[-MAX_CANDIDATES:]


def _fault(text: str, candidate: Candidate, cut_off: bool) -> str:
    span = candidate.span
    if _PLACEHOLDER.fullmatch(candidate.text):
        return EMPTY
    if _DENIED_BEFORE.search(text, max(0, span.start - 48), span.start):
        return "it is denied"
    if _CALLED_WRONG.search(candidate.text[:200]):
        return "it is called wrong"
    if candidate.source is Source.BOXED:
        opening = text.rfind("\\", max(0, span.start - 60), span.start)
        opening = opening if opening >= 0 else span.start
        if _PART_BEFORE.search(text, max(0, opening - 24), opening) or _PART_AFTER.match(text, span.end):
            return PART
        if _UNREAL_BOX.search(text, max(0, text.rfind("\n", 0, opening), opening - 120), opening):
            return "it is supposed or denied, not stated"
        line = text[text.rfind("\n", 0, opening) + 1 : opening]
        if "print(" in line or "echo " in line:
            return "it is code"
    after = text[span.end : span.end + 120]
    denied = _DENIED_AFTER.match(after)
    if denied and (not _AFFIRMED.search(denied[0]) or _NOT_AFFIRMED.search(denied[0])):
        return "it is taken back"
    if candidate.source is Source.BOXED and re.match(r"\}[ \t$)\]\\*]*[?？]", after):
        return "it is asked, not stated"
    if cut_off and candidate.source is not Source.BOXED and not text[span.end :].strip():
        return "the response was cut off in it"
    return ""


def _phrases(text: str, boxes: list[Candidate], wanted: Wanted, losers: list[Loser]) -> Iterator[Candidate]:
    """Statements in words. One that merely introduces a box is the box, not a second answer."""
    if '"' in text and ":" in text:
        yield from _json_fields(text)
    for statement in statement_after(text, 0, wanted):
        span = Span(statement.start, statement.end)
        if any(box.span.start <= span.end and span.start <= box.span.end for box in boxes):
            continue
        found = Candidate(text[span.start : span.end], span, Source.PHRASE, statement.is_final)
        if statement.fault:
            losers.append(Loser(found, statement.fault))
        elif "<answer" in found.text[:9].lower() or text[
            max(0, span.start - 8) : span.start
        ].lower().endswith("<answer>"):
            continue
        else:
            yield found


def _json_fields(text: str) -> Iterator[Candidate]:
    """``{"answer": 72}``."""
    if _FORGED.search(text):
        return
    for found in deque(_JSON.finditer(text), MAX_CANDIDATES):
        group = next(index for index in (1, 2, 3) if found[index] is not None)
        yield Candidate(found[group], Span(*found.span(group)), Source.PHRASE)


def _hashes(text: str, boxes: list[Candidate], wanted: Wanted, losers: list[Loser]) -> Iterator[Candidate]:
    for found in deque(_HASHES.finditer(text), MAX_CANDIDATES):
        start, end = found.span(1)
        if any(start <= box.span.start < end for box in boxes) or _HEADING.match(found[1]):
            continue
        lead = re.match(r"[\s*=:$]*(?=[^\s*=:$])|[=:\s]*", found[1])
        skip = lead.end() if lead and "$" not in lead[0] else 0
        body = found[1][skip:].rstrip(" \t*\\`|")
        inner = value_range(text, start + skip, wanted)
        is_short = wanted.kind is Kind.WORDS and len(body.split()) <= 6
        if not (looks_like_value(body) or is_short):
            continue
        if inner is None:
            yield Candidate(body, Span(start + skip, start + skip + len(body)), Source.HASHES)
            continue
        if inner[2]:
            losers.append(
                Loser(Candidate(body, Span(start + skip, start + skip + len(body)), Source.HASHES), inner[2])
            )
            continue
        first, last = inner[0], inner[1]
        if re.search(r"[A-Za-z]{3,}", text[start:first]) and not looks_like_value(text[first:last]):
            continue
        yield Candidate(text[first:last], Span(first, last), Source.HASHES)


def _tags(text: str, wanted: Wanted, cut_off: bool) -> Iterator[Candidate]:
    opened: int | None = None
    for tag in deque(_TAG.finditer(text), 4 * MAX_CANDIDATES):
        if not (tag[1] or tag[2]):
            opened = tag.end()
        elif opened is not None:
            yield _tag(text, opened, tag.start(), wanted)
            opened = None
    if (
        opened is not None
        and not cut_off
        and 0 < len(text[opened:].strip()) <= 200
        and "\n\n" not in text[opened:].strip()
    ):
        yield _tag(text, opened, len(text), wanted)


def _tag(text: str, start: int, end: int, wanted: Wanted) -> Candidate:
    inner = text[start:end]
    body = inner.strip()
    start += len(inner) - len(inner.lstrip())
    whole = Candidate(body, Span(start, start + len(body)), Source.TAG, is_final=True)
    if len(body) < 2 or len(body) > 4_000:
        return whole
    is_sentence = "\n" not in body and ". " not in body
    value = value_in(body, wanted) if is_sentence else (0, len(body))
    first, last = value or (0, len(body))
    if (
        value is not None
        and last - first == len(body)
        and re.search(r"[A-Za-z]{3,}[^\\]*\s|[\u4e00-\u9fff]{3,}", body)
        and wanted.kind is not Kind.WORDS
    ):
        found, _ = last_assertion(body, wanted)
        if found is not None and len(found.text) < len(body):
            first, last = found.span.start, found.span.end
    return replace(whole, text=body[first:last], span=Span(start + first, start + last))


def run_on(text: str, stated: list[Candidate]) -> int | None:
    """Where a hallucinated next question begins, once an answer has been stated."""
    if not stated or not any(mark in text for mark in RUN_ON_MARKS):
        return None
    found = RUN_ON.search(text, min(candidate.span.end for candidate in stated))
    return found.start() if found else None
