"""English number words → digits: *twenty-one*, *three quarters*, *two and a half*, *3 million*, *half a dozen*."""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.notation.numerals import shifted

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES = {word: value for value, word in enumerate(_BELOW_TWENTY.split())}
_TENS = {word: 10 * value for value, word in enumerate(_TENS_NAMES.split(), start=2)}
_TENS["fourty"] = 40
_SCALES = {
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    "quadrillion": 15,
    "lakh": 5,
    "crore": 7,
}
_ORDINAL_STEMS = {
    **{"third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10},
    **{"eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16},
    **{
        "seventeenth": 17,
        "eighteenth": 18,
        "nineteenth": 19,
        "twentieth": 20,
        "thirtieth": 30,
        "fortieth": 40,
    },
    **{"fiftieth": 50, "sixtieth": 60, "seventieth": 70, "eightieth": 80, "ninetieth": 90},
    **{"hundredth": 100, "thousandth": 1000, "millionth": 10**6},
}
_DENOMINATORS = {
    **{"half": 2, "halves": 2, "quarter": 4, "quarters": 4},
    **_ORDINAL_STEMS,
    **{word + "s": value for word, value in _ORDINAL_STEMS.items()},
}
_ORDINALS = {"first": 1, "second": 2, **_ORDINAL_STEMS}
_PLURALS = {"hundreds": "hundred", "dozens": "dozen", **{f"{word}s": word for word in _SCALES}}
_WORDS = {*_ONES, *_TENS, *_SCALES, *_DENOMINATORS, "hundred", "dozen", "first", "second"} | set(_PLURALS)
_ANY = "|".join(sorted(_WORDS, key=lambda word: -len(word)))
AFTER_DIGITS = "|".join(
    [
        "hundred",
        "dozen",
        "dozens",
        *_SCALES,
        *(w + "s" for w in _SCALES),
        "half",
        "halves",
        *(w for w in _ORDINAL_STEMS),
        *(w + "s" for w in _ORDINAL_STEMS),
    ]
)
_NUMBER = r"\d++(?:,\d{3}(?!\d))*+(?:\.\d++)?"
_RUN = re.compile(
    rf"(?<![\\\w.])(?<!\d[ -])(?:(?:minus|negative)\s+)?(?:(?:an?\s+)?(?:{_ANY})|{_NUMBER}(?=[\s-](?:{AFTER_DIGITS})\b"
    rf"|\s+and\s+an?\s+(?:half|third|quarter)\b))\b"
    rf"(?:(?:\s*-\s*|\s+|,\s+)(?:and\s+)?(?:an?\s+)?(?:(?:{_ANY})\b|point(?=\s+[a-z])))*",
    re.I,
)
_HAS_WORD = re.compile(rf"(?<![A-Za-z\\])(?:{_ANY})(?![A-Za-z])", re.I)
_SPLIT = re.compile(rf"{_NUMBER}|[A-Za-z]+")
_JOINTS = re.compile(r"(\s*,\s+(?:and\s+)?|\s+and\s+)")
_DIGIT_ORDINAL = re.compile(r"(\d{1,9})\s?(?:st|nd|rd|th)", re.I)
_CHINESE_ORDINAL = re.compile(r"第\s*(\d{1,9})[个名位次天]?")


def words_to_digits(text: str) -> str:
    """Rewrite every run of English number words in ``text`` as digits. A run that is no number stays."""
    if not _HAS_WORD.search(text):
        return text
    return _RUN.sub(lambda run: _read_run(run[0]), text)


def ordinal(text: str) -> tuple[int, bool] | None:
    """Value of an ordinal that is the whole ``text``, and whether it is written with digits (*3rd*, not *third*)."""
    plain = text.strip().lower().removeprefix("the ").strip()
    found = _DIGIT_ORDINAL.fullmatch(plain) or _CHINESE_ORDINAL.fullmatch(plain)
    if found:
        return int(found[1]), True
    words = plain.replace("-", " ").split()
    if not words or len(words) > 6 or words[-1] not in _ORDINALS:
        return None
    before = _cardinal(words[:-1]) if len(words) > 1 else 0
    last = _ORDINALS[words[-1]]
    if before is None or (before and (before % 10 or last > 9)):
        return None
    return before + last, False


def _read_run(run: str) -> str:
    words = [_PLURALS.get(word, word) for word in (found[0].lower() for found in _SPLIT.finditer(run))]
    sign = ""
    if words and words[0] in ("minus", "negative"):
        sign, words = "-", words[1:]
    if len(words) == 2 and words[0] in ("a", "an") and words[1] in _DENOMINATORS:
        words[0] = "one"
    digits = _read_words([word for word in words if word not in ("a", "an") or len(words) == 1])
    if digits is not None:
        return sign + digits
    pieces = _JOINTS.split(run)
    if len(pieces) == 1:
        return run
    return "".join(piece if index % 2 else _read_run(piece) for index, piece in enumerate(pieces))


def _read_words(words: list[str]) -> str | None:
    """Digits for lower-case number words without articles; None if they are no number together."""
    if not words:
        return None
    scaled = _scaled_fraction(words)
    if scaled is not None:
        return scaled
    if words[0][0].isdigit():
        return _after_digits(words)
    if words[-1] == "dozen":
        return _dozens(words[:-1])
    if words[-1] in _DENOMINATORS:
        return _fraction(words)
    if "point" in words:
        return _with_point(words)
    value = _cardinal(words)
    return None if value is None else str(value)


def _scaled_fraction(words: list[str]) -> str | None:
    """``half a million``, ``two and a quarter million``: a fraction of a scale that makes a whole number."""
    count = len(words)
    while count and words[count - 1] in _SCALES:
        count -= 1
    if count == len(words) or not count or words[count - 1] not in _DENOMINATORS:
        return None
    part = _read_words(words[:count])
    if part is None or "/" not in part:
        return None
    value = sum(map(Fraction, part.split())) * 10 ** sum(_SCALES[word] for word in words[count:])
    return str(value) if value.denominator == 1 else None


def _dozens(words: list[str]) -> str | None:
    if words == ["half"]:
        return "6"
    count = _cardinal(words) if words else 1
    return None if count is None else str(12 * count)


def _after_digits(words: list[str]) -> str | None:
    """``3 million``, ``2.5 hundred thousand``, ``2 thirds``, ``2 and a half``."""
    number = words[0].replace(",", "")
    rest = words[1:]
    if rest and rest[0] == "and":
        part = _read_words(rest[1:])
        return f"{number} {part}" if part and "/" in part and "." not in number else None
    if len(rest) == 1 and rest[0] in _DENOMINATORS:
        return f"{number}/{_DENOMINATORS[rest[0]]}" if "." not in number else None
    if rest == ["dozen"]:
        return str(12 * int(number)) if "." not in number else None
    places = 0
    for word in rest:
        if word == "hundred":
            places += 2
        elif word in _SCALES:
            places += _SCALES[word]
        else:
            return None
    return shifted(number, places)


def _fraction(words: list[str]) -> str | None:
    """``two thirds``, ``half``, ``one and a half``, ``two and three quarters``."""
    bottom = _DENOMINATORS[words[-1]]
    top = words[:-1]
    if "and" in top:
        cut = len(top) - 1 - top[::-1].index("and")
        whole, numerator = _cardinal(top[:cut]), _cardinal(top[cut + 1 :]) if top[cut + 1 :] else 1
        if whole is None or numerator is None:
            return None
        return f"{whole} {numerator}/{bottom}"
    if not top:  # a bare "third" is an ordinal, a bare "half" is not
        return f"1/{bottom}" if words[-1] in ("half", "quarter") else None
    numerator = _cardinal(top)
    if numerator is None or (numerator >= 20 and not words[-1].endswith("s")):
        return None
    return f"{numerator}/{bottom}"


def _with_point(words: list[str]) -> str | None:
    cut = words.index("point")
    whole = _cardinal(words[:cut]) if cut else 0
    tail = words[cut + 1 :]
    places = 0
    while tail and tail[-1] in _SCALES:
        places += _SCALES[tail.pop()]
    digits = [str(_ONES[word]) for word in tail if _ONES.get(word, 10) < 10]
    if whole is None or not digits or len(digits) != len(tail):
        return None
    return shifted(f"{whole}.{''.join(digits)}", places)


def _cardinal(words: list[str]) -> int | None:
    """Value of a cardinal such as *two thousand one hundred and five*; None if the words do not make one."""
    total = group = 0
    last = 10**18  # size of what the next word must stay below
    if not words or words[0] == "and":
        return None
    for index, word in enumerate(words):
        if word == "and":
            if index + 1 == len(words) or words[index - 1] not in ("hundred", *_SCALES):
                return None
        elif word in _ONES or word in _TENS:
            value = _ONES.get(word, 0) or _TENS.get(word, 0)
            limit = 10 if word in _ONES and value < 10 else 100
            if last < limit or (value == 0 and len(words) > 1):
                return None
            group += value
            last = 10 if word in _TENS else 1
        elif word == "hundred":
            if group >= 100 or (last > 10 and index):
                return None
            group, last = (group or 1) * 100, 100
        elif word in _SCALES:
            total += (group or 1) * 10 ** _SCALES[word]
            group, last = 0, 1000
        else:
            return None
    return total + group
