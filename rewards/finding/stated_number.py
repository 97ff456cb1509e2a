"""The number that a clause states: "she has 12 apples left after giving 5 away" → ``12``."""

from __future__ import annotations

import re

from rewards.finding.hedging import same_number
from rewards.finding.lead import leads_to_value
from rewards.finding.number_patterns import CHINESE_NUMBER, FINITE, NUMBER, WORD_NUMBER
from rewards.finding.tail import leaves_value, mentions_no_arithmetic, without_aside
from rewards.finding.unit_after import with_unit
from rewards.notation.normalize import normalize, reads_as_number

_WORD = re.compile(r"[A-Za-z]{2,}|[\u4e00-\u9fff]{1,}")
_MATH_WORDS = frozenset(
    [
        "pi",
        "sqrt",
        "cbrt",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
        "arcsin",
        "arccos",
        "arctan",
        "abs",
        "either",
        "or",
        "and",
        "mod",
        "choose",
        "over",
        "infinity",
        "inf",
        "negative",
        "minus",
        "degrees",
    ]
)
_PROSE = re.compile(r"(?!.*\blambda\b)[^\[\]{}\"_;<>@#`|]*", re.S)
_QUANTITY_OF = re.compile(
    r"\b(?:total|amount|profit|average|value|maximum|minimum|loss|cost|length|distance|price|speed|area|sum|number|balance|score) of\s+\$?$",
    re.I,
)
_OPERATOR = re.compile(
    r"\s*(?:/(?!\s?[A-Za-z]{2})|[+*^=!:÷×·√<>≤≥≠≈_(|\\]|[π√∞]|[-−]\s*[\d(A-Za-z\\$]|\\(?:cdot|times|frac|sqrt|pi|le|ge|in))"
)
_COORDINATED = re.compile(r"(?:,|;|\band\b|\bor\b|\bbut\b|&|\bplus\b|\bwhile\b|、|，|；|和|与|或)", re.I)
_PREPOSITION = re.compile(
    r"\b(?:for|of|in|from|per|after|with|at|on|by|each|during|within|among|before|over|every|out of|than|to|since|beyond|above|below|under|around|near|without|including|against|until|between"
    r"|through|into|as|while|when|if)\s+((?:[A-Za-z'’-]+\s+){0,3})[$(]?$|(?:在|每|的|从|按|经过|用)()$",
    re.I,
)
_ALTERNATIVE = re.compile(
    r"\s*(?:or|and|to|,|[-–—])\s*[$(]?\d|\s*(?:squared|cubed|plus|minus|divided|multiplied)\b", re.I
)
_SAME_TWICE = re.compile(r"([^\s,]{1,40}),?\s+or\s+(?:equivalently,?\s+)?([^\s,]{1,40})")
_ONLY_WORDS = re.compile(r"\s*[(（]([A-Za-z -]{3,40})[)）]?")
_ONLY_ASIDE = re.compile(r"\s*[(（][^()（）]*[)）]?")
_SINGLE = re.compile(
    r"(?:1|0?\.\d+|1?\s*\d*\s*[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒]|\d+/\d+|\d+ \d+/\d+|\d+\.\d+|(?:a|one)\b.*|half)", re.I
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SIGN_WORD = re.compile(r"\b(?:minus|negative)\s+$", re.I)
_BACKWARDS = re.compile(r"\s*\$?\s*=\s*\$?[-−\d(\\][^=A-Za-z]{0,60}?[+*/×÷·^−-][^=A-Za-z]{0,60}$")
Range = tuple[int, int]


def number_in(clause: str, loose: bool) -> Range | None:
    """The number that ``clause`` states; all of it if that is not certain, None if its words make another value of it."""
    whole, clause = clause, without_aside(clause)
    twice = _SAME_TWICE.fullmatch(clause)
    if twice and same_number(twice[1]) and same_number(twice[1]) == same_number(twice[2]):
        return twice.span(1)
    first = NUMBER.search(clause)
    if first is None:
        return _word_number(clause, loose)
    if _is_worked_backwards(clause, first):
        return first.start(), with_unit(clause, first.end())
    in_words = WORD_NUMBER.match(clause)
    spelled = _ONLY_WORDS.fullmatch(whole, first.end())
    if spelled and same_number(normalize(spelled[1]).text) == same_number(normalize(first[0]).text):
        return first.span()
    if in_words and _ONLY_ASIDE.fullmatch(clause, in_words.end()):
        return 0, len(clause)
    if not FINITE.search(clause) and reads_as_number(clause):
        is_plain = (
            "\\" in clause
            or not _WORD.search(clause)
            or _is_plain(clause, first, loose)
            or _is_transformed(clause)
            or _is_formula(clause, first)
        )
        return (0, len(clause)) if is_plain else None
    if _is_formula(clause, first):
        return (
            (0, len(clause))
            if not _has_prose_after(clause, first) or _is_plain(clause, first, loose)
            else None
        )
    start = _after_last_equals(clause)
    tail = clause[start:]
    number = _first_number(tail) if start else None
    if number is None:
        number = _stated_number(tail)
    if (
        number is None
        and _OPERATOR.match(clause, first.end())
        and leads_to_value(clause[: first.start()])
        and not start
    ):
        return first.start(), len(clause)
    if number is None:
        return _trimmed(clause, start, len(clause)) if start else (0, len(clause))
    if _OPERATOR.match(tail, number.end()) or _runs_on_before(tail, number.start()):
        opening = NUMBER.search(tail)
        begins = opening.start() if opening and leads_to_value(tail[: opening.start()]) else 0
        return start + begins, len(clause)
    worked_out = loose and start > 0 and not tail[: number.start()].strip(" $*(")
    if not _is_plain(tail, number, loose) and not (
        worked_out and mentions_no_arithmetic(tail[number.end() :])
    ):
        return None
    return start + _with_sign(tail, number.start()), start + with_unit(tail, number.end())


def _is_plain(text: str, number: re.Match[str], loose: bool) -> bool:
    """Tell whether the words around a number leave it as it is."""
    end = with_unit(text, number.end())
    measured = (
        end > number.end()
        or number[0].rstrip()[-1:] in "%％‰°"
        or number[0].lstrip("-−\\ ")[:1] in "$€£¥￥₹₩"
    )
    single = bool(_SINGLE.fullmatch(number[0].strip()))
    return leads_to_value(text[: _with_sign(text, number.start())], loose=loose) and leaves_value(
        text[end:], measured=measured, single=single, loose=loose
    )


def _is_transformed(clause: str) -> bool:
    """Tell whether the words themselves are read as mathematics: *the square root of 2*."""
    found = normalize(clause)
    return found.special is not None or "\\" in found.text or "分之" in clause


def _has_prose_after(clause: str, first: re.Match[str]) -> bool:
    rest = _COMMAND.sub(" ", clause[first.end() :])
    return any(word.lower() not in _MATH_WORDS and len(word) > 2 for word in _WORD.findall(rest)) and not (
        "\\" in clause or NUMBER.search(clause, first.end())
    )


def _is_worked_backwards(clause: str, first: re.Match[str]) -> bool:
    """Tell whether a chain begins with its value: ``72 = 8 * 9``."""
    found = _BACKWARDS.match(clause, first.end())
    return found is not None and not clause[: first.start()].strip(" $*(")


def _with_sign(text: str, start: int) -> int:
    """Extend a number to the word for its sign: *minus 3*."""
    found = _SIGN_WORD.search(text, max(0, start - 12), start)
    return found.start() if found else start


def _is_formula(clause: str, first: re.Match[str]) -> bool:
    """Tell a formula, list or the like, which is left as it is, from words with numbers in them."""
    if not _PROSE.fullmatch(clause):
        return True
    words = [word[0].lower() for word in _WORD.finditer(re.sub(r"\\[A-Za-z]+", " ", clause[: first.start()]))]
    if any(word not in _MATH_WORDS for word in words):
        return False
    rest = re.sub(r"\\[A-Za-z]+", " ", clause[first.end() :])
    return not any(word.lower() not in _MATH_WORDS for word in _WORD.findall(rest))


def _after_last_equals(clause: str) -> int:
    equals = max(clause.rfind("="), clause.rfind("≈"))
    return equals + 1 if equals >= 0 else 0


def _first_number(tail: str) -> re.Match[str] | None:
    """The number right after an equals sign."""
    number = NUMBER.search(tail)
    if number is None or tail[: number.start()].strip(" $*(") or _OPERATOR.match(tail, number.end()):
        return None
    return None if _ALTERNATIVE.match(tail, number.end()) else number


def _stated_number(clause: str) -> re.Match[str] | None:
    """The one number that a clause in words asserts; None if that is not certain."""
    numbers = list(NUMBER.finditer(clause))
    if not numbers:
        return None
    if len({number[0].strip().replace(" ", "") for number in numbers}) == 1:
        return numbers[-1]
    return _asserted(clause, numbers)


def _asserted(clause: str, numbers: list[re.Match[str]]) -> re.Match[str] | None:
    """The number that is said to be the case, among those that only say of what, for what or when; None if unsure."""
    ends = [0, *(number.end() for number in numbers[:-1])]
    free = [
        number
        for number, end in zip(numbers, ends, strict=True)
        if not _is_circumstance(clause[end : number.start()])
    ]
    if not free:
        verbs = [verb.end() for verb in FINITE.finditer(clause, 0, numbers[-1].start())]
        return next((number for number in numbers if verbs and number.start() >= verbs[-1]), None)
    if len(free) == 1:
        return free[0]
    last = free[-1]
    between = clause[free[0].end() : last.start()]
    if (
        len(free) == 2
        and not _COORDINATED.search(between)
        and FINITE.search(between)
        and not FINITE.search(clause, 0, free[0].start())
    ):
        return last  # "3 children get 4 apples"
    return None


def _is_circumstance(lead: str) -> bool:
    """Tell whether a number after ``lead`` hangs on a preposition: "for the", "after giving"."""
    found = _PREPOSITION.search(lead[-60:])
    if _QUANTITY_OF.search(lead):
        return False
    return found is not None and not FINITE.search(found[1] or "")


def _runs_on_before(clause: str, start: int) -> bool:
    """Tell whether an operator stands before the number: ``48 + 24 apples``."""
    before = clause[:start].rstrip(" $")
    return (before[-1:] in tuple("+*/^×÷<>≤≥≠·(") and before[-1:] != "(") or before.endswith(
        ("\\cdot", "\\times")
    )


def _word_number(clause: str, loose: bool) -> Range | None:
    """A number in words inside a sentence: "she has twelve apples" → ``twelve``."""
    found = list(WORD_NUMBER.finditer(clause))
    if not found and re.search(r"[\u4e00-\u9fff]", clause):
        found = [number for number in CHINESE_NUMBER.finditer(clause) if len(number[0]) < 16]
    if len(found) != 1:
        return 0, len(clause)
    number = found[0]
    if number.end() - number.start() == len(clause.strip()):
        return 0, len(clause)
    after = clause[number.end() :]
    if _is_transformed(clause) and reads_as_number(clause):
        return 0, len(clause)
    if not _is_plain(clause, number, loose):
        return None
    if (number[0].lower() in ("one", "half") and after.strip()) or re.match(
        r"\s*(?:of|point)\b|点|分之", after
    ):
        return 0, len(clause)
    return number.start(), number.end()


def _trimmed(text: str, start: int, end: int) -> Range:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end
