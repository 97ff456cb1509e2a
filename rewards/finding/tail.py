"""What may follow a number in a sentence without making another value of it: an allow-list as a small grammar.

After the number comes nothing, a unit, or a short noun phrase with a plural head; then phrases that say of what, where or
when ("left", "in total", "of the students", "to paint the house"), and a reason, after which anything may stand. Every
other word leaves the value unclear, whether or not anybody has thought of it: "upside down", "cents short", "in ternary".
"""

from __future__ import annotations

import re

from rewards.finding.phrase_words import PLACES
from rewards.finding.tail_reader import TOKEN, TailReader, is_arithmetic
from rewards.notation.chinese_numbers import MEASURE_WORDS
from rewards.notation.units import canonical_unit

_MAX_TAIL = 240
_MARKS = " \t\r\n*_$`\"”’'.!)}]>|✓✅。！"
_PER = re.compile(r"\s?/\s?[a-z]{2,12}(?![a-z])|in(?:\^?\{?[23]\}?|[²³])?$", re.I)
_ASIDE = re.compile(r"[(（]\s*(?P<inner>[^()（）]*)[)）]?\s*")
_LAST_ASIDE = re.compile(r"\s*[(（](?P<inner>[^()（）]*[A-Za-z\u4e00-\u9fff]{2}[^()（）]*)[)）]\s*$")
_SET_PHRASE = re.compile(
    r"(?:as well(?! as)|after (?:simplification|simplifying|rounding|all)|by (?:symmetry|inspection|definition)"
    r"|under (?:these|the|those|the given|all) (?:conditions|circumstances|assumptions)|in (?:both|all|either|each|every) cases?|and (?:we are|we're) done)\b[.,]?\s*",
    re.I,
)
_EXPLAINS = re.compile(
    r"(?:that is|i\.e|since|because|as |which|from|rounded|approx|to the nearest|the |[\d$(\\].*[=+*/×÷-]|[^A-Za-z]*=)"
    r"|(?:about|exactly|or )?[^A-Za-z]*\d[^A-Za-z]*[a-z ]{0,20}|因为|即|也就是|[^A-Za-z]*[=＝]",
    re.I,
)
_CHINESE = re.compile(
    rf"(?:个|[{MEASURE_WORDS}])?(?P<noun>[\u4e00-\u9fff]{{0,8}})(?P<rest>(?:[，,；;].*)?)", re.S
)
_CHINESE_TURN = re.compile(
    r"[的倍成余几多半又或和与比少加减乘除至不错]|大于|小于|高于|低于|左右|以[上下内外]|上下|第|次方|平方(?!米|厘|分|千|公)|立方(?!米|厘|分|千)"
)
_CHINESE_REASON = re.compile(r"[，,；;]\s*(?:因为|所以|因此|即|也就是|这|故|由于|符合)")


def leaves_value(tail: str, *, measured: bool = False, single: bool = False, loose: bool = False) -> bool:
    """Tell whether the words after a number leave it as it is.

    Args:
        tail: what follows the number, to the end of its clause.
        measured: the number and a unit stand before, so that no bare noun can follow.
        single: the number is one or a fraction, after which a noun may stand in the singular.
        loose: comparisons with other things may follow, as they do at the end of a solution.
    """
    text = tail[:_MAX_TAIL].strip(_MARKS).lstrip(":")
    if not text:
        return True
    if "\u4e00" <= text[0] <= "\u9fff":
        return _chinese(text)
    aside = _ASIDE.match(text)
    if aside:
        if not _explains(aside["inner"]):
            return False
        text = text[aside.end() :].strip(_MARKS)
    said = _SET_PHRASE.match(text)
    text = text[said.end() :] if said else text
    per = _PER.match(text)
    return TailReader(
        TOKEN.findall(text[per.end() :] if per else text), measured or bool(per), single, loose
    ).accepts()


def mentions_no_arithmetic(tail: str) -> bool:
    """Tell whether the words after a number that was just worked out say nothing that would change it."""
    words = [token.lower() for token in TOKEN.findall(tail[:_MAX_TAIL])][:3]
    return not any(
        (is_arithmetic(word) and word not in PLACES) or (word in ("wrong", "incorrect", "not") and index < 2)
        for index, word in enumerate(words)
    )


def without_aside(clause: str) -> str:
    """Leave out a remark in brackets at the end that explains: "12 (that is, 3 groups of 4)"."""
    found = _LAST_ASIDE.search(clause)
    return clause[: found.start()] if found and found.start() and _explains(found["inner"]) else clause


def _explains(aside: str) -> bool:
    """Tell whether a remark in brackets explains the number: "(that is, 3 groups of 4)", "(apples)"."""
    words = aside.lower().split()
    if not words or any(word.strip(".,") in ("not", "or", "wrong", "base", "mod", "no") for word in words):
        return not words
    return bool(_EXPLAINS.match(aside)) or leaves_value(aside)


def _chinese(text: str) -> bool:
    """A measure word or unit and a short noun, then nothing or a reason: 12个苹果, 12元，因为…."""
    found = _CHINESE.match(text)
    if not found or (_CHINESE_TURN.search(found["noun"]) and not canonical_unit(found["noun"])):
        return False
    rest = text[found.end("noun") :].strip(_MARKS + "，,；;")
    return (
        not rest
        or bool(_CHINESE_REASON.match(text, found.end("noun")))
        or not re.search(r"[\u4e00-\u9fff\d]", rest)
    )
