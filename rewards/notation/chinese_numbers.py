"""Chinese number words → digits: 十二, 一百零五, 三分之二, 百分之二十, 三点五, 3万, 1.2亿, 半.

Only where a number can stand: at the end, before a unit or a measure word. 三角形 and 一次函数 are words.
"""

from __future__ import annotations

import re

from rewards.notation.numerals import shifted
from rewards.notation.unit_table import CHINESE

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")}
_DIGITS |= {"〇": 0, "两": 2, "壹": 1, "贰": 2, "叁": 3, "肆": 4, "伍": 5, "陆": 6, "柒": 7, "捌": 8, "玖": 9}
_SMALL = {"十": 10, "百": 100, "千": 1000, "拾": 10, "佰": 100, "仟": 1000}
_LARGE = {"万": 4, "亿": 8}
_DIGIT = "".join(_DIGITS)
_NUMERAL = "".join((*_DIGITS, *_SMALL, *_LARGE))
MEASURE_WORDS = "个只本块张条人名位支枝根颗粒棵朵件套双对盒箱包袋瓶杯碗辆台架艘头匹间座栋层页题道次倍份组排行列片段步圈批筐篮盘桶把面只户所家"
_FOLLOWING = "|".join((*CHINESE, f"[{MEASURE_WORDS}]", "点", "刻", "分钟", "分", "时", "毛", "度"))
_NO_NUMBER_BEFORE = "角形|边形|面体|面角|次[函方多项式幂根]|元[一二方函]|条件|位数|倍角|月|日|时间|面积|个角"
_MAY_FOLLOW = rf"(?=\s*(?:\Z|[^\u4e00-\u9fff]|(?!{_NO_NUMBER_BEFORE})(?:{_FOLLOWING})))"
_UNIT_PREFIX = r"(?!千(?:米|克|瓦|焦|升|帕)|百分)"
_WORD = rf"(?:{_UNIT_PREFIX}[{_NUMERAL}])++"
_BEFORE = r"(?<![\u4e00-\u9fff\d.])|(?<=[时分元角米克吨年天日约负为是有点午上晚晨里第])"
_PARTS = re.compile(
    rf"(?:{_BEFORE})(?P<whole>(?:{_WORD}|\d++)又)?(?P<bottom>{_WORD}|\d++|百)分之"
    rf"(?P<top>(?:{_WORD}|\d++)(?:[点.](?:[{_NUMERAL}]++|\d++))?)"
)
_PLAIN = re.compile(
    rf"(?:{_BEFORE})(?P<whole>{_WORD})(?:点(?P<decimals>[{_DIGIT}]++)(?![半分十]))?{_MAY_FOLLOW}"
)
_HALF = re.compile(
    rf"(?:{_BEFORE})(?:一半(?={_MAY_FOLLOW})|(?<!点)半(?=个?(?:小时|年|天|月|米|公斤|斤|千克|升)?\Z))"
)
_AND_HALF = re.compile(r"(\d{1,9})(个|年|天|米|斤|倍)半(?=(小时|月|星期|钟头)?)")
_SCALED = re.compile(
    r"(?<![\d.])(\d++(?:\.\d++)?)\s?((?:(?!千[米克瓦焦升帕]|百分)[十百千万亿])++)(?P<rest>\d{0,8})"
)
_DATE = re.compile(
    rf"(?:(?P<year>[{_DIGIT}]{{4}})年)?(?P<month>[{_NUMERAL}]{{1,2}})月(?:(?P<day>[{_NUMERAL}]{{1,3}})(?=[日号]))?(?![\u4e00-\u9fff]*[个份])"
)
_MIXED = re.compile(r"(\d{1,9})\s*又\s*(?=\d{1,9}\s*/|\\frac)")
_ROOT = re.compile(r"根号\s*(\d{1,12})")
_ANY = re.compile(rf"[{_NUMERAL}半分负又根]")


def chinese_to_digits(text: str) -> str:
    """Rewrite the Chinese number words of ``text`` as digits, where they stand for a number."""
    if text.isascii() or not _ANY.search(text):
        return text
    if text.startswith(("负", "零下")):
        text = "-" + text.removeprefix("零下").removeprefix("负")
    text = _ROOT.sub(r"\\sqrt{\1}", _MIXED.sub(r"\1 ", text))
    text = _DATE.sub(_read_date, text)
    text = _PARTS.sub(_read_parts, text)
    text = _SCALED.sub(_read_scaled, text)
    text = _PLAIN.sub(_read_plain, text)
    text = _HALF.sub("1/2", text)
    return _AND_HALF.sub(lambda found: f"{found[1]}.5{found[2]}", text)


def _read_date(found: re.Match[str]) -> str:
    """三月五日 → 3月5日; a month alone stays, for 一月 is a name."""
    if not found["day"] and not found["year"]:
        return found[0]
    year = f"{_value(found['year'])}年" if found["year"] else ""
    return f"{year}{_value(found['month'])}月{_value(found['day']) if found['day'] else ''}"


def _value(word: str) -> int | None:
    """Value of 一百零五 or of plain digits 一二三; None if it is neither."""
    if word.isascii():
        return int(word)
    if all(char in _DIGITS for char in word):
        return int("".join(str(_DIGITS[char]) for char in word)) if len(word) <= 30 else None
    high = low = group = digit = 0  # 亿, 万, the rest below 万
    for char in word[:40]:
        if char in _DIGITS:
            digit = _DIGITS[char]
        elif char in _SMALL:
            group, digit = group + (digit or 1) * _SMALL[char], 0
        elif char == "万":
            low, group, digit = (group + digit) * 10_000, 0, 0
        else:
            high, low, group, digit = (high + low + group + digit) * 10**8, 0, 0, 0
    return high + low + group + digit


def _read_parts(found: re.Match[str]) -> str:
    """三分之二 → 2/3, 百分之二十 → 20%, 一又二分之一 → 1 1/2."""
    top = _decimal(found["top"])
    if found["bottom"] == "百":
        return f"{top}%" if top else found[0]
    bottom = _value(found["bottom"])
    if not top or not bottom or "." in top:
        return found[0]
    whole = _value(found["whole"][:-1]) if found["whole"] else None
    return f"{whole} {top}/{bottom}" if whole is not None else f"{top}/{bottom}"


def _decimal(word: str) -> str:
    whole, _, decimals = word.replace("点", ".").partition(".")
    value = _value(whole)
    if value is None:
        return ""
    if not decimals:
        return str(value)
    return f"{value}.{''.join(str(_DIGITS.get(char, char)) for char in decimals)}"


def _read_plain(found: re.Match[str]) -> str:
    value = _value(found["whole"])
    if value is None or (len(found["whole"]) == 1 and found["whole"] in _LARGE):
        return found[0]
    decimals = found["decimals"]
    if decimals is None:
        return str(value)
    if any(char not in _DIGITS for char in decimals):
        return found[0]
    return f"{value}.{''.join(str(_DIGITS[char]) for char in decimals)}"


def _read_scaled(found: re.Match[str]) -> str:
    places = 0
    for char in found[2]:
        places += _LARGE.get(char, 0) or {"十": 1, "百": 2, "千": 3}[char]
    if found["rest"] or places > 24:
        return found[0]
    return shifted(found[1], places)
