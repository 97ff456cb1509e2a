"""Unit text → one canonical spelling, so that two written units can be told apart. Nothing is converted.

``km/h``, ``kph`` and ``kilometers per hour`` are one unit, ``square meters`` and ``m^2`` another. Words that are no
unit (*apples*) are nouns: they belong to no unit and never make two answers differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from rewards.notation.unit_table import BY_EXACT_NAME, BY_NAME, CHINESE, CURRENCIES

_MATHEMATICS = (
    "pi e i x y z a b c n k t r p q sin cos tan cot sec csc log ln lg exp sqrt arcsin arccos arctan sinh cosh tanh abs"
    " choose mod modulo base gcd lcm det lim sum int max union infty and or plus minus times divided over to if where"
    " when then not either than but such that is are equals equal"
)
NOT_UNITS = frozenset(_MATHEMATICS.split())
"""Words after a number that are mathematics or grammar, never a unit."""
_ENDING = (
    "of in on at from for with left long tall wide high deep away apart ago later old total remaining more each all"
    " altogether earlier faster slower after before between this that the a an as by or and which who because so is are"
    " was were has have"
)
STOP_WORDS = frozenset(_ENDING.split())
"""Words that end the unit: what follows says of what, not how much."""

_CHANGING = (
    "squared cubed factorial doubled tripled quadrupled halved dozen dozens lakh lakhs crore crores score gross than least"
    " most percent percentile no not never wrong incorrect false maybe perhaps possibly guess nor unless except half"
    " halves third thirds quarter fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths millionths"
    " tenth hundredth thousandth hundred thousand million billion trillion hundreds thousands millions billions double"
    " twice triple negative exceeding bn mn ish something odd plus minus modulo power cube root reciprocal inverse"
    " opposite wait oops actually instead reversed backwards octal hexadecimal binary itself shared added subtracted"
    " reduced increased decreased raised multiplied into tens"
)
CHANGING_WORDS = frozenset(_CHANGING.split())
"""Words after a number that make another value of it, deny it or leave it open: what they stand in is no noun."""
CHANGING_CHINESE = re.compile(
    r"多|几|余|以上|以下|以内|至少|至多|不到|超过|成|分之|的.{0,3}倍|的(?:倒数|相反数|[因约]数|(?:算术)?平方根|立方根|绝对值|阶乘|.?次方|余数)|一半|的平方|的立方|不|错|吗|或|百|千(?![米克瓦])|万|亿|十"
)

MAX_UNIT = 80
_PART = re.compile(
    r"\\(?P<command>[A-Za-z]+)|(?P<word>[A-Za-z°Ω¢€£¥₹₩₽₺₫₪₦฿₱]+)|(?P<chinese>[\u4e00-\u9fff]+)"
    r"|(?P<power>\^\s*\{?\s*(?P<exponent>[+-]?\d)\s*\}?|(?P<digit>[23])(?!\d))|(?P<slash>/)|(?P<times>[*·.-])"
    r"|(?P<open>\()|(?P<other>.)",
    re.S,
)
_MICRO = re.compile(r"\\mu\s*(?=[mgslLF](?![a-z]))")
_RUN_TOGETHER = re.compile(r"\b(k?m|cm|rad)s\s*\^\s*\{?\s*-([12])\s*\}?")
_POWER_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWER_AFTER = {"squared": 2, "cubed": 3, "square": 2}
_AMBIGUOUS = {"deg": {"deg", "degC", "degF"}, "pound": {"pound", "lb", "GBP"}, "¥": {"¥", "CNY", "JPY"}}
_CHINESE_POWER = {"平方": 2, "立方": 3}


@lru_cache(maxsize=2048)
def canonical_unit(words: str) -> str:
    """Canonical unit in ``words``, for example ``km/h`` or ``m^2``; empty for a mere noun such as *apples*.

    Reads units up to the first word that ends them: *liters of water* is ``l``. A noun before *per* is passed
    over, so *12 apples per day* has the unit ``/d``.
    """
    return _UnitReader(_RUN_TOGETHER.sub(r"\1/s^\2", _MICRO.sub("u", words[:MAX_UNIT]))).read()


def begins_with_unit(words: str) -> bool:
    """Tell whether the first word of ``words`` is the name of a unit."""
    reader = _UnitReader(words[:MAX_UNIT])
    reader.read()
    return reader.first_known


class _UnitReader:
    """Reads one unit text from left to right."""

    def __init__(self, words: str) -> None:
        self.parts = list(_parts(words))
        self.powers: dict[str, int] = {}
        self.sign = 1
        self.scale = 1
        self.last = ""
        self.last_power = 1
        self.nouns = 0
        self.first_known = False
        self.ended = False

    def read(self) -> str:
        index = 0
        while index < len(self.parts) and not self.ended:
            index += self.take(index)
        return self.spell()

    def take(self, index: int) -> int:
        """Take the part at ``index`` and return how many parts it used."""
        kind, text = self.parts[index]
        if kind == "word":
            return self.word(index, text)
        if kind == "power" and self.last:
            self.add(self.last, (int(text) - 1) * self.last_power)
        elif kind == "slash":
            self.sign, self.last = -1, ""
        elif kind not in ("times", "power", "space", "open"):
            self.ended = True
        return 1

    def word(self, index: int, text: str) -> int:
        lowered = text.lower()
        if lowered in ("per", "每") or (
            lowered in ("a", "an", "every", "each") and self.powers and self.sign > 0
        ):
            if lowered in ("a", "an") and not self.unit_at(index + 2)[0]:
                self.ended = True
                return 1
            self.sign, self.last = -1, ""
            return 1
        if lowered in _POWER_AFTER and self.last and (lowered != "square" or not self.unit_at(index + 2)[0]):
            self.add(self.last, (_POWER_AFTER[lowered] - 1) * self.last_power)
            return 1
        if lowered in _POWER_BEFORE:
            self.scale = _POWER_BEFORE[lowered]
            return 1
        unit, used = ("min", 1) if text == "分" and self.sign < 0 else self.unit_at(index)
        if not unit or lowered in STOP_WORDS - {"in"}:
            return self.noun(index, lowered)
        self.first_known = self.first_known or not (self.powers or self.nouns)
        self.merge(unit)
        return used

    def noun(self, index: int, lowered: str) -> int:
        """A word that is no unit: passed over before *per*, the end after a unit."""
        self.nouns += 1
        rest = [text.lower() for _, text in self.parts[index : index + 12]]
        if not ("per" in rest or "/" in rest) or lowered in STOP_WORDS:
            self.ended = True
        return 1

    def unit_at(self, index: int) -> tuple[str, int]:
        """Canonical unit that begins at part ``index`` and how many parts it takes."""
        if index >= len(self.parts):
            return "", 1
        text = self.parts[index][1]
        if index + 2 < len(self.parts) and self.parts[index + 1][1] in (" ", "-"):
            first, second = _singular(text.lower()), self.parts[index + 2][1].lower()
            phrase = BY_NAME.get(f"{first} {second}") or BY_NAME.get(f"{first} {_singular(second)}")
            if phrase:
                return phrase, 3
        return unit_of_word(text), 1

    def merge(self, unit: str) -> None:
        """Multiply by ``unit``, which may itself be compound (``mph``)."""
        scale, self.scale = self.scale, 1
        top, _, bottom = unit.partition("/")
        for name, sign in ((top, 1), (bottom, -1)):
            for factor in filter(None, name.split("*")):
                base, _, power = factor.partition("^")
                self.last, self.last_power = base, sign * self.sign
                self.add(base, sign * self.sign * scale * int(power or 1))

    def add(self, unit: str, power: int) -> None:
        self.powers[unit] = self.powers.get(unit, 0) + power

    def spell(self) -> str:
        top = [_with_power(unit, power) for unit, power in sorted(self.powers.items()) if power > 0]
        bottom = [_with_power(unit, -power) for unit, power in sorted(self.powers.items()) if power < 0]
        return "*".join(top) + ("/" + "/".join(bottom) if bottom else "")


def unit_of_word(word: str) -> str:
    """Canonical unit of one word; empty if it is none. Case decides only where it must (mW, MW)."""
    exact = BY_EXACT_NAME.get(word)
    if exact:
        return exact
    lowered = word.lower()
    return BY_NAME.get(lowered) or (BY_NAME.get(_singular(lowered), "") if len(lowered) > 2 else "")


def is_currency(unit: str) -> bool:
    """Tell whether ``unit`` is a canonical unit of money."""
    return unit in CURRENCIES


def units_differ(left: str, right: str) -> bool:
    """Tell whether both units are known and not the same. An absent or unknown unit never differs.

    Plain degrees may be degrees of an angle or of either temperature scale, so they differ from neither; a pound
    may be of mass or of money, and ¥ stands for yuan and yen.
    """
    if not left or not right or left == right:
        return False
    pair = {left, right}
    return not any(name in pair and pair <= meanings for name, meanings in _AMBIGUOUS.items())


def _parts(words: str) -> Iterator[tuple[str, str]]:
    for found in _PART.finditer(words):
        kind = found.lastgroup or "other"
        if found["chinese"]:
            yield from _chinese_parts(found[0])
        elif found["power"]:
            yield "power", found["exponent"] or found["digit"]
        elif found["command"]:
            yield "word", found["command"]
        elif found[0].isspace():
            yield "space", " "
        else:
            yield kind, found[0]


def _chinese_parts(run: str) -> Iterator[tuple[str, str]]:
    """Cut a run of Chinese into units, 每, and single characters that are nouns."""
    position = 0
    while position < len(run):
        rest = run[position : position + 6]
        power = _CHINESE_POWER.get(rest[:2])
        if power and position + 2 < len(run):
            yield "word", "square" if power == 2 else "cubic"
            position += 2
            continue
        if rest[0] in "每":
            yield "word", "per"
            position += 1
            continue
        if rest[0] == "时" and position:
            yield "word", "h"
            position += 1
            continue
        name = next((name for name in CHINESE if rest.startswith(name)), rest[0])
        yield "word", name
        position += len(name)


def _singular(word: str) -> str:
    if word.endswith(("ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 2 else word


def _with_power(unit: str, power: int) -> str:
    return unit if power == 1 else f"{unit}^{power}"
