"""Clock times, dates and ordinals: values that are compared as what they are, not as numbers.

``3:45 pm``, ``15:45``, *a quarter to four* and 下午3点45分 are times; *March 4, 2020*, ``2020-03-04`` and 2020年3月4日 are
dates. A bare ``3:45`` stays a ratio: it becomes a time only when it is compared with one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.notation.number_words import ordinal


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of day. ``half`` is ``am``, ``pm``, or empty where it was not said (and the hour is at most 12)."""

    hour: int
    minute: int = 0
    second: int = 0
    half: str = ""

    def agrees(self, other: ClockTime) -> bool:
        """Same time; where one does not say the half of the day, the other's is accepted."""
        if self.half and other.half and self.half != other.half:
            return False
        mine, theirs = (
            (self.hour % 12, self.minute, self.second),
            (other.hour % 12, other.minute, other.second),
        )
        return mine == theirs

    def __str__(self) -> str:
        seconds = f":{self.second:02d}" if self.second else ""
        return f"{self.hour}:{self.minute:02d}{seconds} {self.half}".rstrip()


@dataclass(frozen=True, slots=True)
class Date:
    """A calendar date. ``year``, ``day`` and ``weekday`` may be unsaid (0, 0 and empty)."""

    month: int
    day: int = 0
    year: int = 0
    weekday: str = ""

    def agrees(self, other: Date) -> bool:
        """Same date as a gold: what the gold says must be said, a weekday excepted."""
        if self.weekday and other.weekday and self.weekday != other.weekday:
            return False
        if self.year and self.year != other.year:
            return False
        return (self.month, self.day) == (other.month, other.day)

    def __str__(self) -> str:
        return f"{self.year or '?'}-{self.month}-{self.day or '?'}"


@dataclass(frozen=True, slots=True)
class Ordinal:
    """A place in an order: *3rd*, *third*, 第三. With digits it also stands for its number."""

    number: int
    in_digits: bool = True

    def agrees(self, other: Ordinal) -> bool:
        """Same place."""
        return self.number == other.number

    def __str__(self) -> str:
        return f"number {self.number} in order"


Moment = ClockTime | Date | Ordinal

_MONTH_NAMES = (
    "january jan|february feb|march mar|april apr|may|june jun|july jul|august aug|september sep sept|october oct"
    "|november nov|december dec"
)
_MONTHS = {
    name: number for number, names in enumerate(_MONTH_NAMES.split("|"), start=1) for name in names.split()
}
_WEEKDAY = r"(?:(?P<weekday>mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}\.?,?\s+(?:the\s+)?)?"
_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=lambda name: -len(name)))})\.?"
_DAY = r"(?:the\s+)?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+(?:of\s+)?(?P<year>\d{4}))?"
_DATES = (
    re.compile(rf"{_WEEKDAY}{_MONTH}\s+{_DAY}{_YEAR}(?:\s*\(?[a-z]{{6,9}}day\)?)?"),
    re.compile(rf"{_WEEKDAY}{_DAY}(?:\s+of)?\s+{_MONTH}{_YEAR}"),
    re.compile(rf"{_WEEKDAY}{_MONTH},?\s+(?P<year>\d{{4}})(?P<day>)"),
    re.compile(r"(?P<weekday>)(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"),
    re.compile(r"(?P<weekday>)(?P<year>[12]\d{3})/(?P<month>\d{1,2})/(?P<day>\d{1,2})"),
    re.compile(r"(?P<weekday>)(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>[12]\d{3})"),
    re.compile(
        r"(?P<weekday>)(?:(?P<year>\d{4})\s*年\s*)?(?P<month>\d{1,2})\s*月\s*(?P<day>\d{1,2})\s*[日号](?:\s*[(,]?(?:星期|周).\)?)?"
    ),
    re.compile(r"(?P<weekday>)(?P<year>\d{4})\s*年\s*(?P<month>\d{1,2})\s*月(?P<day>)"),
)
_HALF = r"(?P<half>a\.?\s?m\b\.?|p\.?\s?m\b\.?|in the (?:morning|afternoon|evening)|at night)"
_ZONE = r"(?:\s+(?:e|c|m|p)?(?:st|dt|t)|\s+(?:utc|gmt))?"
_TIMES = (
    re.compile(rf"(?P<hour>\d{{1,2}})[:.h](?P<minute>\d{{2}})(?::(?P<second>\d{{2}}))?\s*{_HALF}{_ZONE}"),
    re.compile(rf"(?P<hour>\d{{1,2}})\s*(?:o'?\s?clock)?\s*{_HALF}{_ZONE}"),
    re.compile(r"(?P<hour>\d{1,2})\s*o'?\s?clock"),
    re.compile(r"(?=0|.*:0)(?P<hour>0\d|1\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)"),
    re.compile(r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>0\d)(?:\s*(?:h|hrs|hours|o'?\s?clock))?"),
    re.compile(r"(?P<hour>0\d|[12]\d):(?P<minute>[0-5]\d)\s*(?:h|hrs|hours)"),
    re.compile(r"(?P<hour>1[3-9]|2[0-4])h(?P<minute>[0-5]\d)"),
    re.compile(r"(?P<hour>[01]\d|2[0-3])(?P<minute>[0-5]\d)\s*(?:hours|hrs)"),
    re.compile(
        r"(?:(?P<chinese>凌晨|清晨|早上|早晨|上午|中午|下午|傍晚|晚上|夜里|晚)\s*(?=\d{1,2}\s*[:点时]))?(?P<hour>\d{1,2})\s*"
        r"(?:点[钟整]?|(?(chinese):|点)|时(?=\s*\d))"
        r"(?:\s*(?P<minute>\d{1,2})\s*分?|(?P<half_hour>半)|(?P<quarter>[一三13])刻)?(?:\s*(?P<second>\d{1,2})\s*秒)?"
    ),
)
_PAST = re.compile(
    rf"(?:a\s+)?(?P<how>half|1/2|quarter|1/4|\d{{1,2}})(?P<minutes>\s+minutes?)?\s+(?P<way>past|after|to|before|till)\s+"
    rf"(?P<hour>\d{{1,2}})(?:\s*o'?\s?clock)?(?:\s*{_HALF})?"
)
_SPECIAL = {"noon": (12, "pm"), "midday": (12, "pm"), "midnight": (12, "am")}
_SPECIAL_TIME = re.compile(r"(?:12(?::00)?\s*)?(noon|midday|midnight)")
_MAYBE = re.compile(
    r":|\dh\d|m\b|clock|noon|night|midday|past|after|\bto\b|[点时年月第]|\d(?:st|nd|rd|th)\b|\d{4}|hours|hrs"
)
_MAX = 60
_BEFORE = re.compile(r"(?:at|on|by|exactly|the time is|it is|it's)\s+")


def read_moment(text: str) -> Moment | None:
    """Read ``text`` (plain notation, digits for number words) as a time, a date or an ordinal; None if it is none."""
    if len(text) > _MAX:
        return None
    plain = " ".join(text.lower().split()).strip(" .,")
    plain = _BEFORE.sub("", plain, count=1)
    return _read_time(plain) or _read_date(plain) or _read_ordinal(plain)


def time_from_parts(parts: list[int]) -> ClockTime | None:
    """A bare ``3:45`` or ``15:45:30`` as a time; None if no clock shows it."""
    if not 2 <= len(parts) <= 3:
        return None
    return _clock_time(parts[0], parts[1], parts[2] if len(parts) == 3 else 0, "")


def _read_ordinal(text: str) -> Ordinal | None:
    found = ordinal(text)
    return Ordinal(*found) if found else None


def _read_time(text: str) -> ClockTime | None:
    if not _MAYBE.search(text):
        return None
    special = _SPECIAL_TIME.fullmatch(text)
    if special:
        hour, half = _SPECIAL[special[1]]
        return ClockTime(hour, 0, 0, half)
    found = _PAST.fullmatch(text)
    if found:
        return _past(found)
    for pattern in _TIMES:
        found = pattern.fullmatch(text)
        if found:
            return _from_match(found.groupdict())
    return None


def _from_match(groups: dict[str, str | None]) -> ClockTime | None:
    if "chinese" in groups:
        return _chinese_time(groups)
    hour, minute, second = (int(groups.get(name) or 0) for name in ("hour", "minute", "second"))
    return _clock_time(hour, minute, second, _half(groups.get("half"), hour))


def _chinese_time(groups: dict[str, str | None]) -> ClockTime | None:
    hour, minute = int(groups["hour"] or 0), int(groups["minute"] or 0)
    if groups["half_hour"]:
        minute = 30
    if groups["quarter"]:
        minute = 15 if groups["quarter"] in "一1" else 45
    part, half = groups["chinese"], ""
    if part and hour <= 12:
        half = "am" if part in ("凌晨", "清晨", "早上", "早晨", "上午") else "pm"
        if part in ("夜里", "晚上", "晚") and hour == 12:
            half = "am"
        if part == "中午" and hour == 11:
            half = "am"
    return _clock_time(hour, minute, int(groups["second"] or 0), half)


def _past(found: re.Match[str]) -> ClockTime | None:
    how = found["how"]
    minutes = 30 if how in ("half", "1/2") else 15 if how in ("quarter", "1/4") else int(how)
    hour = int(found["hour"])
    half = _half(found["half"], hour)
    if how.isdigit() and not found["minutes"] and not half and found["way"] not in ("past", "till"):
        return None  # "5 to 3" is a ratio
    if found["way"] in ("past", "after"):
        return _clock_time(hour, minutes, 0, half)
    if hour == 12 and half:
        half = "am" if half == "pm" else "pm"
    return _clock_time((hour - 2) % 12 + 1, 60 - minutes, 0, half)


def _half(said: str | None, hour: int) -> str:
    if not said:
        return ""
    if said[0] in "ap" and said[1:2] != "t":
        return f"{said[0]}m"
    return "am" if "morning" in said or (said == "at night" and hour in (12, 1, 2, 3)) else "pm"


def _clock_time(hour: int, minute: int, second: int, half: str) -> ClockTime | None:
    """Bring to twelve hours with a half where the day's half is known; None if no clock shows it."""
    if hour > 24 or minute > 59 or second > 59 or (hour == 24 and (minute or second)):
        return None
    if half and hour > 12:
        return ClockTime(hour - 12, minute, second, "pm") if half == "pm" and hour < 24 else None
    if hour == 0 or hour == 24:
        return ClockTime(12, minute, second, "am") if half != "pm" else None
    if hour > 12:
        return ClockTime(hour - 12, minute, second, "pm")
    return ClockTime(hour, minute, second, half)


def _read_date(text: str) -> Date | None:
    for pattern in _DATES:
        found = pattern.fullmatch(text)
        if found:
            month = found["month"]
            number = int(month) if month.isdigit() else _MONTHS[month]
            day, year = int(found["day"] or 0), int(found["year"] or 0)
            if number > 12 and day <= 12:  # 25/12/2020 can only have the day first
                number, day = day, number
            if not 1 <= number <= 12 or day > 31:
                return None
            return Date(number, day, year, found["weekday"] or "")
    return None
