"""How far the value reaches that begins at some place of a text, and what disqualifies it: a denial, a question, unclear words."""

from __future__ import annotations

import re

from rewards.finding.candidates import Kind, Wanted
from rewards.finding.clause import value_in
from rewards.finding.tail import leaves_value
from rewards.notation.normalize import reads_as_number

_MAX_STATEMENT = 1_600
_MAX_PROSE = 400
_TRAILING = ' \t*_,:"”`>|，'
UNCLEAR = "its words make something else of the value"
"""The fault of "42 doubled", "at least 42", "between 4 and 6"."""
_OPENING = re.compile(
    r"(?:[\s*_:：>\"“`|]|(?:####|#{1,6}[ \t])|(?:is|that|therefore|thus|hence|simply|just|exactly|actually|then|indeed|clearly|now"
    r"|equal to|given by|as follows|approximately|about|option|choice|<answer>)\b[,:]?|\\(?:Large|large|displaystyle)\b|[}\]](?=\s)|=(?!=)|[-–—](?=\s)(?!\s\d))*",
    re.I,
)
_CLAUSE_END = re.compile(
    r"[!?](?!\s*(?:[=+*/×÷^-]\s*[\d\\(]|ways\b))(?=\s|$|[*\"'”)<}\\])|[.](?=\s|$|[*\"'”)<}|](?!\d)|(?<![ .][A-Za-z].)[A-Z\u4e00-\u9fff])|[。！？；;\n]|</|<\||\.\.\.|…"
    r"|,?\s+(?:because|since|which|where|given that|due to|so that|so|thus|therefore|hence|as (?:the|we|it|he|she|they|there|both|each|all|computed|shown|required|desired|claimed|\d)|instead of|rather than|whereas)\b"
    r"|,\s*(?:i\.e\.|that is\b|namely|or equivalently|in other words)|，?(?:因为|所以|因此|而不是|希望)",
    re.I,
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:[ap]\.m|approx|sq|cu|ft|in|no|vs|e\.g|i\.e|Mr|Mrs|Ms|Dr|St|Rs|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|[A-Z]))$",
    re.I,
)
_NOT_BUT = re.compile(
    r"(?:not|n't|不是|不)\s*\$?(?:\$[^$\n]{1,40}\$|[^,.\n，。]{1,40}?)(?:[,，])?\s*(?:\bbut(?: rather)?\b|(?<=, )it(?:'s| is)\b|\brather\b|而是)\s*",
    re.I,
)
_DENIED = re.compile(
    r"[*_$ ]*(?:not|never|unknown|unclear|wrong|incorrect|none|n/a|impossible to|undetermined|anything|no longer|cannot|can't"
    r"|不|未知|无法)(?![A-Za-z])(?!\s*(?:real |)solutions?\b)",
    re.I,
)
_THEN_NOT = re.compile(r",?\s+(?:and\s+|but\s+)?not\s|,?\s+n't\s|[,，]?\s*(?:而)?不是", re.I)
_WRONG = re.compile(
    r"\b(?:is|was|are|were|being)\s+(?:\w+\s+)?(?:wrong|incorrect|not\s+(?:right|correct|possible|it|valid)|false|mistaken|a mistake|impossible|extraneous)"
    r"|\b(?:isn't|wasn't|aren't)\b|是错|不对|不正确",
    re.I,
)
_SELF_CORRECTION = re.compile(
    r"(?:,|\.{2,}|…|—|–|-)?\s*\b(?:no,?\s+wait|wait,?\s+no|wait|no(?=\s*[,.;:—–-])|actually|sorry|I mean|scratch that)\b[,:]?\s",
    re.I,
)
_WORKED_OUT = re.compile(
    r"[,，]?\s*(?:which (?:is|equals|gives|makes|comes to)|i\.e\.,?|that is,?|or equivalently,?|也就是|即)\s*(?=[$\\(]{0,2}[-−]?\d)",
    re.I,
)
"""After a calculation: "4 + 6, which is 10"."""
_NEXT_ITEM = re.compile(r"\s*(?:and\s+)?[-$\\(\d]")
_YES_OR_NO = re.compile(r"\W*(?:yes|no|true|false)\b(?!\s+\w)", re.I)
_MATH = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_VALUE = re.compile(r"\d|\\[A-Za-z]|=|^\s*\(?[A-Za-z]\)?\s*$|[∅ℝ∞π√]")
_HEDGE = re.compile(r"\b(?:or|either|maybe|perhaps|possibly|alternatively)\b|或者|或|可能", re.I)


def looks_like_value(text: str) -> bool:
    """Tell a value from prose by what any value has: a digit, a LaTeX command, an equals sign, or one letter."""
    return bool(_VALUE.search(text)) or len(text.split()) == 1


def value_range(text: str, start: int, wanted: Wanted) -> tuple[int, int, str] | None:
    """Range of the value that begins at or after ``start``, and its fault; None if nothing is there."""
    begin = _skip_opening(text, start)
    window = text[begin : begin + _MAX_STATEMENT]
    not_but = _NOT_BUT.match(window)
    if not_but:
        begin += not_but.end()
        window = text[begin : begin + _MAX_STATEMENT]
    elif _DENIED.match(window) and not _is_denial_wanted(window, wanted):
        return begin, begin + max(1, clause_length(window, 0)[0]), "it is denied"
    display = leading_math(window)
    if display is None and wanted.kind is Kind.NUMBER and "\\" not in window[:_MAX_PROSE]:
        window = window[:_MAX_PROSE]
    length, mark = clause_length(window, display[2] if display else 0)
    while wanted.several and mark in (";", "；") and _NEXT_ITEM.match(window, length + 1):
        length, mark = clause_length(window, length + 1)
    clause = window[:length].replace(";", ",") if wanted.several else window[:length]
    if not clause.strip(" \t*_$"):
        return None
    decided = wanted.kind is Kind.WORDS and _YES_OR_NO.match(clause)
    fault = (
        "it is called wrong"
        if _WRONG.search(clause) and not decided
        else "it is asked, not stated"
        if mark in ("?", "？")
        else ""
    )
    if display and not _HEDGE.search(clause, display[2]) and not _goes_on(clause[display[2] :]):
        if wanted.kind is Kind.NUMBER and not leaves_value(_rest_of(clause, display[2]), single=True):
            fault = fault or UNCLEAR
        return begin + display[0], begin + display[1], fault
    worked_out = _WORKED_OUT.match(window, length) if wanted.kind is Kind.NUMBER and not fault else None
    if worked_out and not reads_as_number(clause.strip(" $*")):
        later, _ = clause_length(window, worked_out.end())
        inner = value_in(window[worked_out.end() : later].rstrip(_TRAILING), wanted)
        if inner is not None:
            return begin + worked_out.end() + inner[0], begin + worked_out.end() + inner[1], ""
    denied = _THEN_NOT.search(clause)
    clause = (clause[: denied.start()] if denied and denied.start() else clause).rstrip(_TRAILING)
    if mark == "!" and clause.endswith("!!"):
        clause = clause.rstrip("!")  # excitement, not a factorial
    corrected = _SELF_CORRECTION.search(clause)
    if corrected and corrected.start():
        fault = fault or "it is taken back"
        clause = clause[: corrected.start()]
    if (
        mark == "."
        and _SELF_CORRECTION.match(window[length:].lstrip(".… "))
        and window[length : length + 2] in ("..", "…")
    ):
        fault = "it is taken back"
    inner = value_in(clause, wanted)
    if inner is None:
        return begin, begin + max(1, len(clause)), fault or UNCLEAR
    first, last = inner
    return (begin + first, begin + last, fault) if last > first else None


def _is_denial_wanted(window: str, wanted: Wanted) -> bool:
    """Tell whether the gold itself is a denial: "none of the above", "not possible", 不够."""
    return wanted.kind is Kind.WORDS and window.lower().lstrip("*_$ ")[:2] == wanted.words.lower()[:2]


def _rest_of(clause: str, start: int) -> str:
    """The words after a formula, without what denies another value or corrects it."""
    rest = clause[start:]
    for pattern in (_THEN_NOT, _SELF_CORRECTION):
        found = pattern.search(rest)
        rest = rest[: found.start()] if found else rest
    return rest


def _goes_on(rest: str) -> bool:
    """Tell whether the value goes on after a formula: more numbers, or a unit."""
    return bool(
        re.search(r"\d|^\s*(?:\\?%|°|[A-Za-zµ\u4e00-\u9fff/²³^]+[\s.]*$)|^\s*(?:and|,)\s*[$\\]", rest)
    )


def _skip_opening(text: str, start: int) -> int:
    """Skip blanks, markdown and the like, but no more than a few line ends."""
    found = _OPENING.match(text, start, min(len(text), start + 80))
    end = found.end() if found else start
    breaks = [m.start() for m in re.finditer("\n", text[start:end])]
    return start + breaks[4] if len(breaks) > 4 else end


def leading_math(window: str) -> tuple[int, int, int] | None:
    """Where a formula in delimiters at the start of ``window`` begins and ends, and where its delimiter ends."""
    for opening, closing in _MATH:
        if window.startswith(opening):
            end = window.find(closing, len(opening))
            if end > 0 and (opening != "$" or "\n" not in window[:end]):
                return len(opening), end, end + len(closing)
            return None
    return None


def clause_length(window: str, start: int) -> tuple[int, str]:
    """Length of the clause at the start of ``window`` and the first character of what ended it."""
    for found in _CLAUSE_END.finditer(window, start):
        if (
            found[0] == "."
            and _ABBREVIATION.search(window, max(0, found.start() - 8), found.start())
            and found.start() + 1 < len(window)
        ):
            follows = window[found.end() :].lstrip(" ")[:1]
            if follows.islower() or follows.isdigit():
                continue
        if found[0] in ("...", "…") and window[found.start() - 1 : found.start()].isdigit():
            continue  # 0.333... goes on
        return found.start(), found[0][:1]
    return len(window), ""
