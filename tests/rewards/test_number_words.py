"""English and Chinese number words."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.notation.chinese_numbers import chinese_to_digits
from rewards.notation.number_words import ordinal, words_to_digits
from rewards.notation.numerals import shifted

ENGLISH = {
    "twelve": "12",
    "zero": "0",
    "twenty-one": "21",
    "one hundred and five": "105",
    "one hundred five": "105",
    "seven hundred twenty": "720",
    "two thousand one hundred and five": "2105",
    "one million five hundred thousand": "1500000",
    "eleven hundred": "1100",
    "a hundred": "100",
    "three quarters": "3/4",
    "two-thirds": "2/3",
    "one half": "1/2",
    "a half": "1/2",
    "half": "1/2",
    "one-fourth": "1/4",
    "three hundredths": "3/100",
    "two and a half": "2 1/2",
    "2 and a half": "2 1/2",
    "two and three quarters": "2 3/4",
    "a dozen": "12",
    "half a dozen": "6",
    "two dozen": "24",
    "3 million": "3000000",
    "2.5 billion": "2500000000",
    "half a million": "500000",
    "three point one four": "3.14",
    "one point two million": "1200000",
    "minus seven": "-7",
    "negative two thirds": "-2/3",
    "twelve apples": "12 apples",
    "two, three and five": "2, 3 and 5",
}
UNCHANGED = [
    "third",
    "second",
    "first",
    r"\ten",
    "often",
    "someone",
    "ninety ninety",
    "3 quarters",
    "Evelyn",
    "12",
    "xy",
]
CHINESE = {
    "十二": "12",
    "一百零五": "105",
    "两千零二十": "2020",
    "一亿二千万": "120000000",
    "三分之二": "2/3",
    "10分之3": "3/10",
    "一又二分之一": "1 1/2",
    "百分之二十": "20%",
    "百分之12.5": "12.5%",
    "三点五": "3.5",
    "3万": "30000",
    "1.2亿": "120000000",
    "12.5万元": "125000元",
    "半": "1/2",
    "一半": "1/2",
    "半小时": "1/2小时",
    "一个半小时": "1.5个小时",
    "负三": "-3",
    "两个": "2个",
    "三千米": "3千米",
    "三元五角": "3元5角",
    "二〇二四": "2024",
    "第三": "第3",
}
CHINESE_UNCHANGED = [
    "三角形",
    "五边形",
    "一次函数",
    "二元一次方程",
    "星期一",
    "一样多",
    "一月",
    "半径",
    "小明",
    "5千米",
]


@pytest.mark.parametrize(("words", "digits"), ENGLISH.items())
def test_english(words: str, digits: str) -> None:
    assert words_to_digits(words) == digits
    assert words_to_digits(words.capitalize()) == digits


@pytest.mark.parametrize("text", UNCHANGED)
def test_no_english_number(text: str) -> None:
    assert words_to_digits(text) == text


@pytest.mark.parametrize(("words", "digits"), CHINESE.items())
def test_chinese(words: str, digits: str) -> None:
    assert chinese_to_digits(words) == digits


@pytest.mark.parametrize("text", CHINESE_UNCHANGED)
def test_no_chinese_number(text: str) -> None:
    assert chinese_to_digits(text) == text


def test_ordinals() -> None:
    assert ordinal("3rd") == ordinal("第3") == (3, True)
    assert ordinal("third") == (3, False)
    assert ordinal("the twenty-first") == (21, False)
    assert ordinal("three") is None
    assert ordinal("one third") is None


ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety"
_ONES, _TENS = ONES.split(), TENS.split()


def spelled(n: int) -> str:
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10] + (f"-{_ONES[n % 10]}" if n % 10 else "")
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= size:
            rest = n % size
            joint = " and " if size == 100 else " "
            return f"{spelled(n // size)} {name}" + (joint + spelled(rest) if rest else "")
    raise AssertionError(n)


@given(st.integers(0, 10**12 - 1))
def test_every_english_number_is_read_back(n: int) -> None:
    assert words_to_digits(spelled(n)) == str(n)


def chinese(n: int) -> str:
    digits = "零一二三四五六七八九"
    if n < 10:
        return digits[n]
    for size, name in ((10**8, "亿"), (10**4, "万"), (1000, "千"), (100, "百"), (10, "十")):
        if n >= size:
            rest = n % size
            gap = "零" if rest and rest < size // 10 else ""
            return chinese(n // size) + name + (gap + chinese(rest) if rest else "")
    raise AssertionError(n)


@given(st.integers(0, 10**12 - 1))
def test_every_chinese_number_is_read_back(n: int) -> None:
    assert chinese_to_digits(chinese(n)) == str(n)


@given(st.integers(0, 10**9), st.integers(-6, 12))
def test_shifting_the_point(n: int, places: int) -> None:
    assert Decimal(shifted(str(n), places)) == Decimal(n).scaleb(places)
