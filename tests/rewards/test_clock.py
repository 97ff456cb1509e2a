"""Times, dates and ordinals."""

import pytest

from rewards.notation.clock import ClockTime, Date, Ordinal, read_moment, time_from_parts
from rewards.notation.normalize import normalize


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("3:45 pm", ClockTime(3, 45, 0, "pm")),
        ("3:45PM", ClockTime(3, 45, 0, "pm")),
        ("3:45 p.m.", ClockTime(3, 45, 0, "pm")),
        ("3.45 pm", ClockTime(3, 45, 0, "pm")),
        ("3 pm", ClockTime(3, 0, 0, "pm")),
        (r"8:20 \text{ AM}", ClockTime(8, 20, 0, "am")),
        ("at 5 p.m.", ClockTime(5, 0, 0, "pm")),
        ("noon", ClockTime(12, 0, 0, "pm")),
        ("midnight", ClockTime(12, 0, 0, "am")),
        ("half past three", ClockTime(3, 30)),
        ("a quarter to four", ClockTime(3, 45)),
        ("10 minutes past 3 pm", ClockTime(3, 10, 0, "pm")),
        ("ten minutes to 12 pm", ClockTime(11, 50, 0, "am")),
        ("8 o'clock", ClockTime(8)),
        ("8 o'clock in the evening", ClockTime(8, 0, 0, "pm")),
        ("3:05", ClockTime(3, 5)),
        ("15:45:00", ClockTime(3, 45, 0, "pm")),
        ("14h30", ClockTime(2, 30, 0, "pm")),
        ("下午3点45分", ClockTime(3, 45, 0, "pm")),
        ("下午三点半", ClockTime(3, 30, 0, "pm")),
        ("上午9时30分", ClockTime(9, 30, 0, "am")),
        ("晚上8:30", ClockTime(8, 30, 0, "pm")),
        ("1545 hours", ClockTime(3, 45, 0, "pm")),
    ],
)
def test_times(text: str, time: ClockTime) -> None:
    assert normalize(text).special == time


def test_times_are_compared_as_times() -> None:
    afternoon = ClockTime(3, 45, 0, "pm")
    assert afternoon.agrees(ClockTime(3, 45))
    assert ClockTime(3, 45).agrees(afternoon)
    assert time_from_parts([15, 45]) == afternoon
    assert not afternoon.agrees(ClockTime(3, 45, 0, "am"))
    assert not afternoon.agrees(ClockTime(3, 54, 0, "pm"))
    assert time_from_parts([25, 0]) is None
    assert time_from_parts([3, 75]) is None
    assert time_from_parts([3]) is None


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("March 4, 2020", Date(3, 4, 2020)),
        ("March 4th, 2020", Date(3, 4, 2020)),
        ("4 March 2020", Date(3, 4, 2020)),
        ("the 4th of March, 2020", Date(3, 4, 2020)),
        ("Mar. 4", Date(3, 4)),
        ("Wednesday, March 4, 2020", Date(3, 4, 2020, "wed")),
        ("2020-03-04", Date(3, 4, 2020)),
        ("2020/3/4", Date(3, 4, 2020)),
        ("3/4/2020", Date(3, 4, 2020)),
        ("25/12/2020", Date(12, 25, 2020)),
        ("2020年3月4日", Date(3, 4, 2020)),
        ("3月4号", Date(3, 4)),
        ("March 2020", Date(3, 0, 2020)),
    ],
)
def test_dates(text: str, date: Date) -> None:
    assert normalize(text).special == date


def test_a_date_must_say_what_the_gold_says() -> None:
    assert Date(3, 4).agrees(Date(3, 4, 2020))
    assert not Date(3, 4, 2020).agrees(Date(3, 4))
    assert Date(3, 4, 0, "wed").agrees(Date(3, 4))
    assert not Date(3, 4, 0, "wed").agrees(Date(3, 4, 0, "thu"))
    assert not Date(3, 4).agrees(Date(4, 3))


def test_ordinals() -> None:
    assert normalize("3rd").special == Ordinal(3)
    assert normalize("the third").special == Ordinal(3, in_digits=False)
    assert normalize("twenty-first").special == Ordinal(21, in_digits=False)
    assert normalize("第三").special == Ordinal(3)
    assert Ordinal(3).agrees(Ordinal(3, in_digits=False))


@pytest.mark.parametrize(
    "text",
    [
        "3:45",
        "2:30",
        "5 m",
        "May",
        "2020",
        "1/2",
        "3/4",
        "10-3",
        "x",
        "12",
        "5 to 3",
        "14:3:2",
        "10:10:10",
        "25:00 pm",
        "13/13/2020",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    assert read_moment(text) is None
