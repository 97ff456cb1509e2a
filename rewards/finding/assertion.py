"""The value that a sentence asserts: after its last equals sign, verb or "so", by the kind of answer that is wanted.

Nothing here decides whether the sentence asserts anything at all; :mod:`rewards.finding.last_sentence` does.
"""

from __future__ import annotations

import re

from rewards.finding.asserted_formula import (
    DIGIT,
    MATH,
    TWO_UNKNOWNS,
    from_formula,
    may_be_read_off,
    plain_formula,
)
from rewards.finding.candidates import Kind, Wanted
from rewards.finding.clause import last_part, value_in
from rewards.finding.hedging import is_hedged, same_number
from rewards.finding.lead import leads_to_value
from rewards.finding.number_patterns import FINITE, NUMBER, WORD_NUMBER
from rewards.finding.tail import leaves_value

NOT_BUT = re.compile(
    r"(?:\bnot|n't|不是)\s*\$?(?:\$[^$\n]{1,40}\$|[^,.\n，]{1,40}?)[,，]?\s*(?:\bbut(?: rather)?\b|(?<=, )it(?:'s| is)\b|\brather\b|而是)\s*",
    re.I,
)
NOT_AFTER = re.compile(
    r",\s+(?:and\s+|but\s+)?not\s|\s+not\s+(?=[$\d])|\s+(?:instead of|rather than)\s|[,，]?而?不是", re.I
)
_NOT_BEFORE = re.compile(r"(?:\bnot|n't|不|没有?)\s*(?:equal to\s*)?\\?\$?\s*$", re.I)
_CONDITION = re.compile(
    r"^\W*(?:if|when|since|because|as|given|after|with|for|in|by|from|on|at|using|adding|subtracting|multiplying|dividing)\b(?:(?:[^,]|,(?=\d))*,(?!\d)|[^,]{0,120}?(?=\bthen\b))\s*(?:then\s+|we\s+)?",
    re.I,
)
_LEAD = re.compile(
    r"(?:[\s*_#>\"“`|•→⇒∴=~✅🎯]|[-–—]+(?=\s)|=>|-+>|\\(?:therefore|Rightarrow|implies|longrightarrow|to)\b|\(?\d{1,2}[.)](?=\s)|（\d{1,2}）"
    r"|(?:so|therefore|thus|hence|and|then|finally|consequently|in conclusion|to conclude|in total|altogether|in summary|overall|now|ok(?:ay)?|well|this means|that means|it follows)\b(?:\s+that\b)?[,:]?"
    r"|(?:conclusion|result|total|solution|output)\s*[:：]"
    r"|(?:所以|因此|综上所述|综上|总之|故|也就是说|最后|则)[，,：:]?)*",
    re.I,
)
_CHOICE = re.compile(
    r"\b(?:option|choice|letter|answer|choose|chooses|pick|picks|select|selects)\W{0,3}(?:is\s+)?[\s(*\[{$]{0,4}([A-J])(?![A-Za-z])"
    r"|\(([A-J])\)|(?:\bis|\bbe|:|=|选)\s*[*_$({\[]{0,3}([A-J])(?=[)\]}*_$]{0,3}\W*$)|(?<![A-Za-z])([A-J])\)?\s*(?:is\s+(?:the\s+)?(?:correct|right|best)|是?(?:正确|对)的?)",
)
_BARE_CHOICE = re.compile(r"[\s(*\[{$\"']{0,4}([A-J]|[a-j](?=\W*$))(?:[)\]}*$\"'.:]{1,4}(?:\s.*)?|\s*)", re.S)
_SEVERAL_LETTERS = re.compile(
    r"(?<![A-Za-z])\(?[A-J]\)?[^.]{0,20}(?:,|/|\band\b|\bor\b|\bmaybe\b|和|或)\s*(?:maybe\s+)?(?:option\s+|choice\s+)?\(?[A-J](?![A-Za-z'])"
)
_PREDICATE = re.compile(
    r"\b(?:is|are|was|were|be|becomes?|called|named|equals?|falls?)\b\s*(?:on|in|at|by)?\s*|[:：](?!\d)\s*|[是为]",
    re.I,
)
_EXCELS = re.compile(
    r"([A-Z][\w'-]*(?:\s+[A-Z][\w'-]*){0,2})\s+(?:has|had|have|got|gets|wins?|won|runs|ran|ate|sold|earned|made|scored|finished|came|arrived)\s+"
    r"(?:the\s+)?(?:\w+est\b|most\b|least\b|first\b|last\b|race\b)"
)
_SUBJECT_ROLE = re.compile(
    r"^(?:the|an?)\s+(?:\w+est\b|most|least|only|first|last|winner|one|answer|correct|right|person|best|worst)|^(?:\w+est|correct|right)\b",
    re.I,
)
_HEADING_LABEL = re.compile(r"[A-Za-z][A-Za-z '()]{1,60}?(?:\s*\([^)]{1,20}\))?\s*[:：]\s*(?=\S)")
_IF = re.compile(r"^\W*(?:if|unless|when|suppose)\b", re.I)
_THING = re.compile(r"\s[A-Za-z]+")
_OR_NOT = re.compile(r"\bor (?:not|none|nothing|so|more|less)\b", re.I)
_REASON = re.compile(r",?\s+(?:because|since|given that|due to)\s|，?因为", re.I)
_TURNS_WORDS = re.compile(
    r"\b(?:nothing|nobody|none|opposite|converse|negation|contrary|inverse|doubt|almost|hardly|neither)\b",
    re.I,
)
_TURNED = re.compile(r"(?:^|[\s,:])([-−]?[$]?\d[\d.,/]*)\s*=\s*[A-Za-z]$")
_INFINITY = re.compile(r"\binfinity\b|∞", re.I)


def asserted_value(sentence: str, wanted: Wanted) -> tuple[int, int] | None:
    """Range of the value in ``sentence``."""
    start, end = 0, len(sentence.rstrip(' \t\r\n.!。！；;*_"”`|✓✔✅'))
    not_but = NOT_BUT.search(sentence, 0, end)
    if not_but:
        start = not_but.end()
    denied = NOT_AFTER.search(sentence, start, end)
    if denied and denied.start() > start:
        end = denied.start()
    if wanted.kind is Kind.CHOICE:
        return _choice(sentence[:end])
    if wanted.kind is Kind.WORDS:
        return _shifted(_words(sentence[start:end], wanted), start)
    if not wanted.several and (is_hedged(sentence[start:end], wanted.words) or _OR_NOT.search(sentence)):
        return None
    reason = _REASON.search(sentence, start, end)
    if reason and reason.start() > start + 3 and DIGIT.search(sentence, start, reason.start()):
        end = reason.start()
    start += last_part(sentence[start:end])
    for _ in range(3):
        lead = _LEAD.match(sentence, start, end)
        start = lead.end() if lead else start
        condition = _CONDITION.match(sentence[start:end])
        if not condition or not DIGIT.search(sentence, start + condition.end(), end):
            if _IF.match(sentence, start, end):
                return None
            break
        start += condition.end()
    found = _mathematical(sentence[start:end], wanted)
    if found is None and reason and end == reason.start() and wanted.kind is Kind.NUMBER:
        found = _worked_out_after(sentence[start:end], sentence[reason.end() :])
    return _shifted(found, start)


def _worked_out_after(part: str, reason: str) -> tuple[int, int] | None:
    """The number of ``part`` that counts things and is worked out in ``reason``: "45 eggs, because 9 * 5 = 45"."""
    numbers = list(NUMBER.finditer(part))
    last = NUMBER.search(reason, reason.rfind("=") + 1) if "=" in reason else None
    if len(numbers) != 1 or last is None or same_number(last[0]) != same_number(numbers[0][0]) != "":
        return None
    thing = _THING.match(part, numbers[0].end())
    if not thing or not leaves_value(thing[0]) or not leads_to_value(part[: numbers[0].start()], loose=True):
        return None
    return numbers[0].span()


def _shifted(found: tuple[int, int] | None, by: int) -> tuple[int, int] | None:
    return None if found is None or found[1] <= found[0] else (found[0] + by, found[1] + by)


def _choice(part: str) -> tuple[int, int] | None:
    if _SEVERAL_LETTERS.search(part):
        return None
    lead = _LEAD.match(part)
    offset = lead.end() if lead else 0
    bare = _BARE_CHOICE.fullmatch(part[offset:])
    if bare:
        return offset + bare.start(1), offset + bare.end(1)
    found = list(_CHOICE.finditer(part))
    letters = {next(group for group in match.groups() if group) for match in found}
    if len(letters) != 1:
        return None
    return found[-1].span(next(index for index, group in enumerate(found[-1].groups(), 1) if group))


def _words(part: str, wanted: Wanted) -> tuple[int, int] | None:
    lead = _LEAD.match(part)
    start = lead.end() if lead else 0
    label = _HEADING_LABEL.match(part, start)
    start = label.end() if label else start
    inner = value_in(part[start:], wanted)
    if (
        inner is None
        or _TURNS_WORDS.search(part[:])
        or {"yes", "no"} <= set(re.findall(r"\b(?:yes|no)\b", part.lower()))
    ):
        return None
    first, last = inner
    if re.fullmatch(r"(?:yes|no|true|false)", part[start + first : start + last], re.I):
        return start + first, start + last
    subject = _EXCELS.match(part, start)
    if subject:
        return subject.span(1)
    verbs = list(_PREDICATE.finditer(part, start))
    if verbs:
        verb = verbs[-1]
        predicate = part[verb.end() :]
        if _SUBJECT_ROLE.match(predicate) and len(part[start : verb.start()].split()) <= 3:
            return start, verb.start() - (len(part[: verb.start()]) - len(part[: verb.start()].rstrip()))
        first, last = value_in(predicate, wanted) or (0, 0)
        return verb.end() + first, verb.end() + last
    return (
        (start + first, start + last)
        if len(part[start:].split()) <= max(4, len(wanted.words.split()))
        else None
    )


def _mathematical(part: str, wanted: Wanted) -> tuple[int, int] | None:
    if not part.strip():
        return None
    if (
        wanted.kind is Kind.NUMBER
        and re.fullmatch(r"[^=]*\([^()]*\)", part)
        and DIGIT.search(part.split("(")[0])
    ):
        trimmed = part[: part.rindex("(")].rstrip()
        if (
            NUMBER.search(trimmed)
            and not part[part.rindex("(") - 1].isdigit()
            and re.search(r"[A-Za-z\u4e00-\u9fff]", part[part.rindex("(") :])
        ):
            return _mathematical_core(part, wanted) if "=" in trimmed else _mathematical(trimmed, wanted)
    return _mathematical_core(part, wanted)


def _mathematical_core(part: str, wanted: Wanted) -> tuple[int, int] | None:
    formulas = list(MATH.finditer(part))
    if formulas:
        if wanted.kind is Kind.NUMBER and DIGIT.search(part, formulas[-1].end()):
            return _plain_number(part, wanted)
        return from_formula(part, formulas, wanted)
    label = _HEADING_LABEL.match(part)
    if label and len(part[: label.end()].split()) <= 5:
        found = _mathematical_core(part[label.end() :], wanted)
        return (label.end() + found[0], label.end() + found[1]) if found else None
    if wanted.kind is Kind.NUMBER:
        return _plain_number(part, wanted)
    return plain_formula(part, wanted)


def _plain_number(part: str, wanted: Wanted) -> tuple[int, int] | None:
    equals = part.rfind("=")
    turned = _TURNED.search(part)
    if turned:
        return turned.span(1)
    if _INFINITY.search(part) and not DIGIT.search(part):
        return plain_formula(part, wanted)
    if equals >= 0 and TWO_UNKNOWNS.search(part):
        return None
    if equals >= 0 and not may_be_read_off(part[:equals], bool(re.search(r"[A-Za-z]{3}", part[:equals]))):
        sides = part[:equals].rstrip()
        start = max(sides.rfind(" "), 0)
        return (start, len(part)) if start else (0, len(part))
    if (
        not DIGIT.search(part)
        and not WORD_NUMBER.search(part)
        and not re.search(r"[零一二两三四五六七八九十百千½⅓⅔¼¾π∞√]", part)
    ):
        return None
    inner = value_in(part, wanted, loose=True)
    if inner is None:
        return None
    first, last = inner
    chosen = part[first:last]
    if chosen.isascii() and not DIGIT.search(chosen) and not _says_how_many(part, first):
        return None
    if (
        first == 0
        and last == len(part)
        and re.search(r"[A-Za-z]{3,}.*\d.*[A-Za-z]", chosen)
        and len(NUMBER.findall(chosen)) > 1
    ):
        return None
    if not DIGIT.search(chosen) and WORD_NUMBER.search(chosen) is None and chosen.isascii():
        return None
    if _NOT_BEFORE.search(part[:first]):
        return None
    return first, last


def _says_how_many(part: str, first: int) -> bool:
    """Tell whether a number in words is asserted, and not a pronoun or a mere count: "these two quantities"."""
    return bool(FINITE.search(part, 0, first)) if first else len(part.split()) <= 4
