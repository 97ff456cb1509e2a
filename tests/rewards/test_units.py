"""Spellings of units, and quantities in several parts."""

from fractions import Fraction

import pytest

from rewards.base import Verdict
from rewards.judging import judge
from rewards.notation.quantities import in_smallest, read_compound
from rewards.notation.unit_table import BY_NAME, SIZES
from rewards.notation.units import canonical_unit, units_differ

SPELLINGS = [
    [
        "km/h",
        "kph",
        "kmph",
        "km per hour",
        "kilometers per hour",
        "kilometres/hour",
        "km an hour",
        "km / hr",
        "千米/时",
        "千米每小时",
    ],
    ["m/s^2", "m/s/s", "m s^{-2}", "meters per second squared", "m/s²".replace("²", "^2")],
    ["m^2", "square meters", "sq m", "sq. m", "meters squared", "m2", "平方米", "square metre", "sqm"],
    ["ft^2", "square feet", "sq ft", "sq. ft.", "sqft"],
    ["cm^3", "cubic centimeters", "cc", "cu cm", "cm3", "立方厘米"],
    ["mi/h", "mph", "miles per hour", "miles/hour", "mi/hr"],
    ["deg", "degrees", "degree", "度"],
    ["degC", "degrees C", "degrees Celsius", "celsius", "摄氏度"],
    ["ml", "mL", "milliliters", "millilitre", "毫升"],
    ["kWh", "kwh", "kilowatt-hours", "kilowatt hours"],
    ["lb", "lbs", "lb."],
    ["in", "inch", "inches", "in."],
    ["h", "hr", "hrs", "hours", "小时", "个小时"],
    ["min", "minutes", "mins", "分钟"],
    ["kg", "kilograms", "kgs", "千克", "公斤", "kg of rice"],
    ["USD", "dollars", "dollar", "bucks", "USD", "dollars each"],
    ["CNY", "yuan", "元", "RMB", "元钱"],
    ["cent", "cents"],
    ["CNY/kg", "元/千克", "yuan per kilogram"],
    ["mi/gal", "mpg", "miles per gallon"],
    ["ly", "light years", "light-years"],
]


@pytest.mark.parametrize("names", SPELLINGS, ids=lambda names: names[0])
def test_spellings_of_one_unit_are_one(names: list[str]) -> None:
    assert {canonical_unit(name) for name in names} == {names[0]} or {
        canonical_unit(name) for name in names[1:]
    } == {names[0]}


def test_different_units_differ() -> None:
    firsts = [canonical_unit(names[1]) for names in SPELLINGS]
    assert len(set(firsts)) == len(firsts)
    assert units_differ("m", "cm")
    assert units_differ("m", "m^2")
    assert units_differ("USD", "cent")
    assert units_differ("degC", "degF")
    assert canonical_unit("mW") != canonical_unit("MW")


def test_what_does_not_differ() -> None:
    assert not units_differ("", "m")
    assert not units_differ("m", "")
    assert not units_differ("deg", "degC")
    assert not units_differ("pound", "lb")
    assert not units_differ("pound", "GBP")


@pytest.mark.parametrize(
    "noun",
    [
        "apples",
        "red apples",
        "个苹果",
        "times",
        "of the cake",
        "units",
        "square units",
        "points",
        "people",
        "本书",
    ],
)
def test_a_noun_is_no_unit(noun: str) -> None:
    assert canonical_unit(noun) == ""


def test_every_spelling_in_the_table_is_read_as_its_unit() -> None:
    for name, unit in BY_NAME.items():
        base = unit.partition("/")[0].partition("^")[0]
        assert base in canonical_unit(name), name


def test_every_size_is_positive() -> None:
    assert all(size > 0 for _, size in SIZES.values())
    assert in_smallest(Fraction(2), "km") == ("length", Fraction(2_000_000))
    assert in_smallest(Fraction(2), "parsec") is None


@pytest.mark.parametrize(
    ("text", "dimension", "total"),
    [
        ("5 ft 3 in", "length", Fraction("1600.2")),
        ("5 feet and 3 inches", "length", Fraction("1600.2")),
        ("5'3\"", "length", Fraction("1600.2")),
        ("2 hours 30 minutes", "time", 9000),
        ("2 hours and 30 minutes", "time", 9000),
        ("2h 30m", "time", 9000),
        ("2小时30分", "time", 9000),
        ("1 day, 2 hours", "time", 93_600),
        ("3元5角", "yuan", 350),
        ("3元5角2分", "yuan", 352),
        ("$3 and 50 cents", "dollars", 350),
        ("2 years and 3 months", "calendar", 27),
        ("45 degrees 30'", "angle", 163_800),
        ("2 m 5 cm", "length", 2050),
        ("2米5厘米", "length", 2050),
        ("3千克200克", "mass", 3_200_000),
    ],
)
def test_quantities_in_parts(text: str, dimension: str, total: Fraction) -> None:
    found = read_compound(text)
    assert found is not None
    assert (found.dimension, found.total) == (dimension, total)


@pytest.mark.parametrize(
    "text", ["5 ft", "3 in 5 ft", "5 ft 3 kg", "5 apples 3 pears", "12", "3 4", "5 m 3", "x 3 ft 2 in"]
)
def test_what_is_no_quantity_in_parts(text: str) -> None:
    assert read_compound(text) is None


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("2 hours 30 minutes", "2 hours and 30 minutes", True),
        ("2 hours 30 minutes", "150 minutes", True),
        ("2 hours 30 minutes", "2.5 hours", True),
        ("150 minutes", "2 hours 30 minutes", True),
        ("2 hours 30 minutes", "2 hours", False),
        ("2 hours 30 minutes", "150", False),
        ("2 hours 30 minutes", "150 seconds", False),
        ("5 ft 3 in", "63 inches", True),
        ("5 ft 3 in", "5.3 ft", False),
        ("3.50", "$3 and 50 cents", True),
        ("3元5角", "3.5元", True),
        ("1 m", "100 cm", False),
        ("5 m", "5m", True),
        ("5m", "5 m", True),
        ("5", "5x", False),
    ],
)
def test_judged(gold: str, answer: str, right: bool) -> None:
    score = judge(gold, f"\\boxed{{{answer}}}")
    assert (score.verdict is Verdict.CORRECT) is right, score.explanation.sentence
