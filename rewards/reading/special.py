"""Answers of a fixed shape: numbers with a base, multiple-choice letters, congruences, named quantities."""

from __future__ import annotations

import re

from rewards.reading.values import Based

_BASE_WORDS = {
    **{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
    **{"eleven": 11, "twelve": 12, "thirteen": 13, "sixteen": 16, "twenty": 20},
    **{
        "binary": 2,
        "ternary": 3,
        "octal": 8,
        "decimal": 10,
        "hexadecimal": 16,
        "hex": 16,
        "bin": 2,
        "oct": 8,
    },
}
_BASE = rf"(?P<base>\d{{1,2}}|{'|'.join(_BASE_WORDS)})"
_DIGITS = r"(?P<sign>-?)\s*\(?\s*(?P<digits>[0-9A-Fa-f](?:[0-9A-Fa-f, ]{0,200}[0-9A-Fa-f])?(?:\.[0-9A-Fa-f]{1,100})?)\s*\)?"
_SUBSCRIPTED = re.compile(
    rf"{_DIGITS}\s*_\s*(?:\{{\s*\(?\s*(?:base\s*)?{_BASE}\s*\)?\s*\}}|{_BASE.replace('base', 'bare')})", re.I
)
_IN_WORDS = re.compile(rf"{_DIGITS}\s*,?\s*\(?\s*(?:in\s+)?(?:base|radix)[\s-]*{_BASE}\s*\)?", re.I)
_IN_SYSTEM = re.compile(
    rf"{_DIGITS}\s*\(?\s*(?:in\s+)?(?P<base>binary|ternary|octal|hexadecimal|hex)\s*\)?", re.I
)
_REPEATING = re.compile(
    rf"(?P<sign>-?)(?P<whole>[0-9A-F]{{0,40}})\.(?P<part>[0-9A-F]{{0,40}})\\overline\s*\{{\s*(?P<period>[0-9A-F]{{1,40}})\s*\}}"
    rf"\s*_\s*\{{?\s*{_BASE}\s*\}}?",
    re.I,
)
_PREFIXED = re.compile(r"(?P<sign>-?)0(?P<letter>[bxo])(?P<digits>[0-9A-Fa-f]{1,200})")
_PREFIXES = {"b": 2, "o": 8, "x": 16}

_LETTER = re.compile(
    r"(?:\\?\{|\()?\s*(?:(?:option|choice|answer|alternative)\s*[:.]?\s*)?\(?\s*([A-J])\s*\)?\s*[.:]?\s*\}?",
    re.I,
)
_UPPER = re.compile(r"[A-J]")
_LETTER_WITH_TEXT = re.compile(
    r"(?:(?:option|choice)\s+)?(?:\(\s*([A-J])\s*\)\s*[:.]?\s*|([A-J])\s*\)\s*|(?:(?<=option )|(?<=choice )|)([A-J])\s*[.:]\s+)"
    r"(\S.*)",
    re.S | re.I,
)
_ANOTHER_LETTER = re.compile(r"(?:and|or|&|,|/|或|和)\s*(?:option\s+|choice\s+)?\(?[A-Ja-j]\b", re.I)
_LETTERS = re.compile(r"[A-J](?:\s*(?:,|&|and|或|和)?\s*[A-J]){1,9}")

_MODULUS = re.compile(
    r"\s*[,(]?\s*\\?[pb]?mod(?:ulo)?(?![A-Za-z])\s*[({]?\s*(?P<modulus>[^(){}]{1,60}?)\s*[)}]?\s*\)?\s*$",
    re.I,
)
_CONGRUENT = re.compile(r"\\equiv(?![A-Za-z])|≡|=")

_QUANTITY = re.compile(
    r"(?:m\s*)?(?:\\?(?:angle|triangle|overline|vec|hat|bar|text|Delta|operatorname)\s*)*\{?\s*(?:\|\s*)?"
    r"(?:[A-Z][a-z]{2,20}|[A-Z]{2,4}|\[\s*[A-Z]{3,6}\s*\]|[A-Z]_\s*\{\s*[A-Z]{2,6}\s*\}|[A-Z]{1,3}\s*[A-Z]?'?)(?:\s*\|)?\s*\}?"
)
_APPLIED = re.compile(
    r"(?:\\?[A-Za-z]{1,4}|\\Pr)(?:_\{?\w{1,6}\}?)?(?:\^\{?-?\d\}?)?\s*[\[(].{1,60}[\])]", re.S
)
_LETTER_RUNS = (frozenset("abcd"), frozenset("xyzwt"), frozenset("pqrs"), frozenset("mnk"), frozenset("uvw"))
_FUNCTIONS = re.compile(
    r"\\?(?:sin|cos|tan|log|ln|exp|sqrt|sec|csc|cot|abs|lcm|gcd|max|min|lg|mod|nCr|nPr)(?![A-Za-z])"
)
_BY_X = re.compile(r"\\frac\s*\{\s*d\s*([a-z])\s*\}\s*\{\s*d\s*x\s*\}|d([a-z])\s*/\s*dx")
_DERIVATIVE = re.compile(
    r"\\frac\s*\{\s*d\s*[a-zA-Z]?\s*\}\s*\{\s*d\s*[a-zA-Z]\s*\}|d[a-z]\s*/\s*d[a-z]|[a-zA-Z]\s*\^?\\?'+"
)


def read_based(text: str) -> Based | None:
    """``1011_2``, ``(1011)_{two}``, ``1011 base 2``, ``1011 in binary``, ``0b1011``; None for anything else."""
    found = _PREFIXED.fullmatch(text)
    if found:
        return _based(found["sign"], found["digits"], _PREFIXES[found["letter"]])
    found = _REPEATING.fullmatch(text) if "\\overline" in text else None
    if found:
        return _repeating(found)
    found = _SUBSCRIPTED.fullmatch(text)
    name = (found["base"] or found["bare"]) if found else ""
    if not found:
        found = _IN_WORDS.fullmatch(text) or _IN_SYSTEM.fullmatch(text)
        name = found["base"] if found else ""
    if not found:
        return None
    return _based(found["sign"], found["digits"], _base_of(name))


def _repeating(found: re.Match[str]) -> Based | None:
    r"""``0.\overline{12}_3`` with its period in brackets."""
    every = _based("", found["whole"] + found["part"] + found["period"], _base_of(found["base"]))
    if every is None:
        return None
    whole = found["whole"].lstrip("0") or "0"
    return Based(f"{found['sign']}{whole}.{found['part']}({found['period']})".upper(), every.base)


def _base_of(name: str) -> int:
    return int(name) if name.isdigit() else _BASE_WORDS[name.lower()]


def _based(sign: str, written: str, base: int) -> Based | None:
    """The number if each digit fits the base. A single letter is a variable with an index, such as ``A_{12}``."""
    digits = re.sub(r"[, ]", "", written).upper()
    if not 2 <= base <= 36 or (digits.isalpha() and len(digits) < 2):
        return None
    if any(int(digit, 36) >= base for digit in digits if digit != "."):
        return None
    whole, point, part = digits.partition(".")
    part = part.rstrip("0")
    shown = (whole.lstrip("0") or "0") + (point + part if part else "")
    return Based((sign if shown != "0" else "") + shown, base)


def letter_alone(text: str) -> str | None:
    """Letter of ``B``, ``(B)``, ``B.``, ``option B``, ``choice (b)``. A bare lower-case letter is a variable."""
    found = _LETTER.fullmatch(text)
    if not found:
        return None
    worded = re.search(r"option|choice|answer|alternative", text, re.I)
    return found[1].upper() if worded or _UPPER.fullmatch(found[1]) else None


def letter_with_text(text: str) -> tuple[str, str] | None:
    """Letter and rest of ``(B) 12``, ``B) 12``, ``B. 12``, ``B: 12``."""
    found = _LETTER_WITH_TEXT.fullmatch(text)
    if not found:
        return None
    letter = found[1] or found[2] or found[3]
    spaced = found[1] is None or text[found.end(1) :].startswith((") ", "). ", "): ", " ) "))
    if not spaced or not _UPPER.fullmatch(letter):
        return None
    return None if _ANOTHER_LETTER.match(found[4]) else (letter, found[4])


def letters_together(text: str) -> list[str]:
    """Letters of ``ACD`` or ``A, C and D``; empty for anything else."""
    if not _LETTERS.fullmatch(text):
        return []
    letters = _UPPER.findall(text)
    if text.isalpha() and letters != sorted(letters):
        return []  # a word such as BAD
    return letters if len(set(letters)) == len(letters) else []


def split_congruence(text: str) -> tuple[str, str, str] | None:
    r"""Unknown, residues and modulus of ``x \equiv 3 \pmod 7``; the unknown is empty for ``3 (mod 7)``."""
    if "mod" not in text:
        return None
    found = _MODULUS.search(text)
    if not found or not found.start():
        return None
    body = text[: found.start()].rstrip(" (,")
    sides = _CONGRUENT.split(body)
    if len(sides) > 2 or not sides[-1].strip():
        return None
    return ("" if len(sides) == 1 else sides[0].strip()), sides[-1].strip(), found["modulus"]


def quantity_name(text: str) -> str | None:
    r"""One name for a quantity that is no single symbol: ``AB``, ``\angle ABC``, ``f(2)``, ``P(A)``, ``dy/dx``."""
    text = text.strip()
    if len(text) > 80 or len(text) < 2:
        return None
    derivative = _BY_X.fullmatch(text)
    if derivative:
        return f"{derivative[1] or derivative[2]}'"
    applied = _APPLIED.fullmatch(text) and not _FUNCTIONS.match(text)
    if applied or _QUANTITY.fullmatch(text) or _DERIVATIVE.fullmatch(text):
        return re.sub(r"[\s\\{}]", "", text)
    return None


def is_product_of_letters(word: str) -> bool:
    """Tell a product of variables (``xy``, ``abc``) from a word: letters of one run, in order or without a vowel."""
    if len(word) > 3 or len(set(word)) != len(word):
        return False
    in_order = list(word) == sorted(word)
    return any(run.issuperset(word) for run in _LETTER_RUNS) and (in_order or "a" not in word)
