"""Answer text → one plain notation that the parser reads, and what stood beside the value.

Only notation is changed here: Unicode look-alikes, LaTeX dressing, labels, number words, currency, thousands
separators, units. Every step is linear in the text; those that look for meaning run only on texts of a length that the
parser would read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.notation.beside import split_currency, split_unit
from rewards.notation.characters import DOLLAR, MARKS, THIN, WORDS_CLOSE, WORDS_OPEN, to_ascii
from rewards.notation.chinese_numbers import chinese_to_digits
from rewards.notation.clock import Moment, read_moment
from rewards.notation.labels import drop_labels, strip_outer
from rewards.notation.latex import undress
from rewards.notation.layout import lay_out
from rewards.notation.number_words import AFTER_DIGITS, words_to_digits
from rewards.notation.numerals import comma_readings, continued_digits, plain_digits
from rewards.notation.quantities import Compound, read_compound
from rewards.notation.unit_table import SINGLE_LETTERS
from rewards.notation.units import canonical_unit

_PASSES = 4
"""Taking one layer off may lay bare another (``**$x$**``); this many times at most."""
MAX_READ = 1_500
"""Longer texts are only undressed: no answer is as long."""


@dataclass(frozen=True, slots=True)
class Normalized:
    """Plain text and the unit that stood beside it (canonical name, or empty).

    ``special`` is a time, a date, an ordinal or a quantity in several parts, where the whole text is one. ``others`` are
    texts of other readings, which count where the gold is of their kind (see :func:`alternate_readings`).
    """

    text: str
    unit: str = ""
    special: Moment | Compound | None = None
    others: tuple[str, ...] = ()


_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:[./][0-9]{1,18})?")
_DEGREES = re.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z])|\{\s*degrees\s*\}| degrees)")
_PERCENT_WORD = re.compile(
    r"(?<=[\d.})\s])\s?(?:percent|per cent|pct|个?百分点|percentage points?)(?![A-Za-z])", re.I
)
_PERMILLE = re.compile(r"(?<![\d.])(\d{1,15}(?:\.\d{1,15})?)\s*permille(?![A-Za-z])")
_EACH = re.compile(r"每(?P<unit>[\u4e00-\u9fff]{1,3}?)\s*(?P<value>[\d$¥].*)", re.S)
_TO_RATIO = re.compile(r"\d{1,9}(?:\s+to\s+\d{1,9}){1,4}")
_WORDY = re.compile(r"[A-Za-z:'\u4e00-\u9fff]|\d[-/]\d{1,2}[-/]\d")
_MARKED_SCALE = re.compile(
    rf"(?<=[\d)])\s*{WORDS_OPEN}\s*(?=(?:{AFTER_DIGITS}|squared|cubed|factorial|bn|mn)\b)([A-Za-z]+)", re.I
)
_SHORT_SCALES = ((re.compile(r"(?<=\d)\s?bn\b"), " billion"), (re.compile(r"(?<=\d)\s?mn\b"), " million"))
_OPERATIONS = (
    (re.compile(r"(?<=\d)\s+point\s+(?=\d)", re.I), "."),
    (re.compile(r"(?:(?<=[\d)])|(?<=\bpi)|(?<=\b[a-z]))\s+squared\b", re.I), "^2"),
    (re.compile(r"(?:(?<=[\d)])|(?<=\bpi)|(?<=\b[a-z]))\s+cubed\b", re.I), "^3"),
    (re.compile(r"(?<=[\d)a-z])\s+to\s+the\s+power\s+(?:of\s+)?(-?\d{1,4})\b", re.I), r"^{\1}"),
    (re.compile(r"(?<=[\d)])\s+factorial\b", re.I), "!"),
    (re.compile(r"(?<![\d.])(\d)成"), r"\g<1>0%"),
)
_FRACTION_OF_PERCENT = re.compile(
    r"(?:an?\s+|one\s+)?(?P<part>half|quarter|tenth)\s+(?:of\s+)?(?:a|one|1)(?:\s+percent\b|\s*%)", re.I
)
_AND_A_HALF = re.compile(
    r"\b(?P<count>an?|[a-z]{3,9}|\d{1,4})\s+(?P<unit>[a-z]{3,12})\s+and\s+(?:a|one)\s+half\b", re.I
)
_POSITIVE = re.compile(r"\Apositive\s+(?=[\d\\(.])", re.I)
_SPOKEN_SIGN = re.compile(r"(?<![A-Za-z\\])(?:minus|negative)\s+(?=[\d\\(.])", re.I)
_SPOKEN_ROOT = re.compile(
    r"(?<![a-z-])(?:the\s+)?(?:(?P<degree>square|cube)\s+)?root\s+(?:of\s+)?(?P<number>\d{1,12})\b", re.I
)
_BOTH_SIGNS = re.compile(r"\bplus[ -]or[ -]minus\b", re.I)
_SPOKEN_ATOM = r"-?(?:\d{1,9}|(?:\d{1,9}\s*)?(?:\\?pi|\\sqrt(?:\[3\])?\{\d{1,12}\}|[a-z](?:\^\d)?))"
_SPOKEN_QUOTIENT = re.compile(rf"(?P<top>{_SPOKEN_ATOM})\s+over\s+(?P<bottom>{_SPOKEN_ATOM})", re.I)
_SPOKEN_PLUS = re.compile(rf"({_SPOKEN_ATOM})\s+plus\s+({_SPOKEN_ATOM})", re.I)
_LETTERS_BESIDE = re.compile(r"(?:\s*[A-Za-z]{1,2}(?![A-Za-z])(?:\s*\^\s*(?:\d|\{\s*\d\s*\}))?){1,6}\s*")
_LETTER_UNIT = re.compile(r"([-+]?\d{1,15}(?:\.\d{1,15})?)(\s*)([A-Za-z])")
_MAX_CLAUSE = 80
_ONE_NUMBER = re.compile(
    r"(?:\\pm\s*)?-?\s?(?:(?:\d{1,9}\s?\*?\s?)?\\?pi(?![A-Za-z])\s?(?:/\s?\d{1,9})?|\\frac\{[\d\\a-z{} ]{1,24}\}\{[\d\\a-z{} ]{1,24}\}|\d{1,18}(?:,\d{3})*(?:\.\d{1,18})?|\d{1,9}\s?/\s?\d{1,9}|\\sqrt(?:\[\d\])?\s*(?:\d{1,9}|\{\d{1,9}\})|cbrt\(\d{1,9}\))%?"
)
_UNIT_QUOTIENT = re.compile(
    r"([-+]?\d{1,15}(?:\.\d{1,15})?)\s*\\frac\{\s*([a-z]{1,3})\s*\}\{\s*([a-z]{1,3})\s*\}"
)
_MIXED_WITH_AND = re.compile(r"(\d{1,9})\s+and\s+(\d{1,9}/\d{1,9})")
_APPROXIMATELY = re.compile(
    r"\s*(?:\\approx|\\simeq|\\doteq)(?![A-Za-z])\s*|\s*[,;]?\s+(?:which is|or)?\s*(?:approximately|about|roughly)\s+(?=[\d$-])"
)
_NAME = re.compile(r"\\?[A-Za-z]{1,12}(?:_\s*\{?\w{1,12}\}?)?|\\(?:angle|triangle)\s*[A-Z]{1,4}")
_APPROXIMATE_INSIDE = re.compile(
    r"(?:approximately|approx\.?|about|roughly|or about|\\approx|~|rounded|exactly|to the)\b.*", re.I
)
_BEFORE_PAREN = re.compile(r"(?P<value>[^()]*\d[^()]*?)\s*\((?P<inside>[^()]{1,40})\)")
_MARKS = str.maketrans({WORDS_OPEN: " ", WORDS_CLOSE: " ", THIN: " ", DOLLAR: "$"})
_ALL_MARKS = re.compile(f"[{MARKS}{THIN}]")


def normalize(raw: str) -> Normalized:
    """Return the plain notation of ``raw`` and the unit split off it. Normalising the text again changes nothing."""
    text = raw.strip()
    if _PLAIN_NUMBER.fullmatch(text):
        return Normalized(text)
    found = _normalize_once(raw)
    for _ in range(_PASSES):
        if found.special is not None or len(found.text) > MAX_READ or _PLAIN_NUMBER.fullmatch(found.text):
            break
        again = _normalize_once(found.text)
        if again.text == found.text and again.special is None:
            break
        found = Normalized(again.text, found.unit or again.unit, again.special, found.others or again.others)
    return found


def _normalize_once(raw: str) -> Normalized:
    text = _undressed(raw)
    if len(text) > MAX_READ:
        return Normalized(_unmarked(text))
    if _WORDY.search(text):
        text = _digits_for_words(text)
        special = _special(text)
        if special is not None:
            return Normalized(_unmarked(text), special=special)
    text, currency = split_currency(_without_echo(_without_approximation(text)))
    whole, others = text, alternate_readings(text)
    text, unit = (text, "") if "\\int" in text else split_unit(text)  # d t is no unit
    if unit and whole.startswith(text) and _LETTERS_BESIDE.fullmatch(whole, len(text)):
        others = (*others, _unmarked(whole))  # \pi h r^2 is no number of hours
    text = _unmarked(text)
    return Normalized(text, "%" if text.endswith("%") else unit or currency, others=others)


def plain_notation(raw: str) -> str:
    """Undress ``raw``: delimiters, Unicode and LaTeX variants, labels. Units, currency and number words stay."""
    text = _unmarked(_undressed(raw))
    for _ in range(_PASSES):
        if len(text) > MAX_READ or (again := _unmarked(_undressed(text))) == text:
            break
        text = again
    return text


def reads_as_number(text: str) -> bool:
    """Tell whether all of ``text`` is one number with at most a unit or a noun: *the square root of 2*, *USD 18*."""
    if len(text) > _MAX_CLAUSE:
        return False
    found = normalize(text)
    return found.special is not None or bool(_ONE_NUMBER.fullmatch(found.text))


def alternate_readings(text: str) -> tuple[str, ...]:
    """Other readings of plain ``text``, which count where the gold is of their kind.

    ``3,5`` as 3.5, ``1,234`` as two items, ``5m`` as 5 metres and ``5 m`` as 5·m, ``2 and 1/2`` as a mixed number.
    """
    if len(text) > 60:
        return ()
    found = list(comma_readings(text))
    letter = _LETTER_UNIT.fullmatch(text)
    if letter and letter[3] in SINGLE_LETTERS:
        found.append(f"{letter[1]}*{letter[3]}" if letter[2] else letter[1])
    per = _UNIT_QUOTIENT.fullmatch(text)
    if per and canonical_unit(f"{per[2]}/{per[3]}").count("/"):
        found.append(per[1])
    mixed = _MIXED_WITH_AND.fullmatch(text)
    if mixed:
        found.append(f"{mixed[1]} {mixed[2]}")
    return tuple(found)


def _undressed(raw: str) -> str:
    """The text without dressing, with the marks of :mod:`rewards.notation.characters` still in it."""
    if "..." in raw or "…" in raw:
        raw = continued_digits(raw)
    text = strip_outer(raw)
    if not text.isascii():
        text = strip_outer(to_ascii(text))
    if "\\" in text or "'" in text:
        text = lay_out(text)
    if "\\" in text or "{" in text or "~" in text or "&" in text:
        text = strip_outer(undress(text))
        text = _DEGREES.sub(" degrees ", text)
    text = _PERMILLE.sub(r"(\1/1000)", _PERCENT_WORD.sub("%", text))
    text = plain_digits(text).strip()
    if not text[:1].isdigit():
        text = drop_labels(_leading_words_unmarked(text))
    return strip_outer(text)


def _leading_words_unmarked(text: str) -> str:
    r"""``\text{Area} = 5`` begins with words: take the marks off so that labels are seen."""
    if text[:1] == WORDS_OPEN:
        text = text[1:].replace(WORDS_CLOSE, " ", 1).strip()
    return text


def _unmarked(text: str) -> str:
    if _ALL_MARKS.search(text):
        text = strip_outer(text.translate(_MARKS))
    return strip_outer(" ".join(text.split()) if "  " in text else text)


def _digits_for_words(text: str) -> str:
    text = _FRACTION_OF_PERCENT.sub(_fraction_of_percent, _MARKED_SCALE.sub(rf" \1 {WORDS_OPEN}", text))
    text = _BOTH_SIGNS.sub(r"\\pm ", _AND_A_HALF.sub(_and_a_half, text))
    for pattern, scale in _SHORT_SCALES:
        text = pattern.sub(scale, text)
    text = chinese_to_digits(words_to_digits(text))
    for pattern, operation in _OPERATIONS:
        text = pattern.sub(operation, text)
    text = _PERCENT_WORD.sub("%", text)
    text = _EACH.sub(r"\g<value>每\g<unit>", text, count=1) if text.startswith("每") else text
    text = _POSITIVE.sub("", _SPOKEN_SIGN.sub("-", text))
    text = _SPOKEN_ROOT.sub(_root, text)
    spoken = _SPOKEN_QUOTIENT.fullmatch(text.strip())
    text = f"\\frac{{{spoken['top']}}}{{{spoken['bottom']}}}" if spoken else text
    spoken = _SPOKEN_PLUS.fullmatch(text.strip())
    text = f"{spoken[1]} + {spoken[2]}" if spoken else text
    text = text.replace(" to ", ":") if _TO_RATIO.fullmatch(text) else text
    return plain_digits(text)


def _and_a_half(found: re.Match[str]) -> str:
    count = "one" if found["count"].lower() in ("a", "an") else found["count"]
    return f"{count} and a half {found['unit']}"


def _fraction_of_percent(found: re.Match[str]) -> str:
    return {"half": "0.5%", "quarter": "0.25%", "tenth": "0.1%"}[found["part"].lower()]


def _root(found: re.Match[str]) -> str:
    return f"\\sqrt{'[3]' if (found['degree'] or '').lower() == 'cube' else ''}{{{found['number']}}}"


def _special(text: str) -> Moment | Compound | None:
    plain = " ".join(text.translate(_MARKS).split())
    return read_moment(plain) or read_compound(plain)


def _without_approximation(text: str) -> str:
    r"""``x \approx 3.5`` as ``x = 3.5``; of ``2\sqrt{3} \approx 3.46`` the exact value, which the rest explains."""
    if not _APPROXIMATELY.search(text):
        return text
    first, *others = _APPROXIMATELY.split(text)
    if _NAME.fullmatch(first.strip()):
        return f"{first.strip()} = {others[0].strip()}" if others else text
    return first.strip() or text


def _without_echo(text: str) -> str:
    """``12 (12)``, which was *12 (twelve)*, and ``12 (approximately)`` as ``12``; ``5 (cm)`` stays."""
    if not text.endswith(")"):
        return text
    found = _BEFORE_PAREN.fullmatch(text)
    if not found:
        return text
    inside = found["inside"].strip()
    if inside == found["value"].strip() or inside.startswith("~") or _APPROXIMATE_INSIDE.fullmatch(inside):
        return found["value"].strip()
    return text
