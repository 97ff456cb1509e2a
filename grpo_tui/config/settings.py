"""Every setting as one row of a table: key, kind, help, limits, default; and the check of one value.

The table is made from :mod:`grpo_tui.config.schema`, so the loader, the writer, the command line's help and
the screens cannot disagree with it.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, get_type_hints

from grpo_tui.config.errors import nearest, quoted_list
from grpo_tui.config.schema import RunConfig, Weights


class Kind(StrEnum):
    """The types a setting can have."""

    INT = "whole number"
    FLOAT = "number"
    STR = "text"
    BOOL = "true or false"
    NAMES = "list of names"
    WEIGHTS = "table of weights"


_KIND_OF_TYPE: dict[Any, Kind] = {
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.STR,
    bool: Kind.BOOL,
    tuple[str, ...]: Kind.NAMES,
    Mapping[str, float]: Kind.WEIGHTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known of one setting. ``low`` and ``high`` are inclusive bounds, ``above`` an exclusive one."""

    key: str
    """Table and name with a dot between: ``optim.lr``."""
    table: str
    name: str
    kind: Kind
    doc: str
    default: Any
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None

    @property
    def limits(self) -> str:
        """What is allowed, in words; empty where anything of the kind is."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        lowest = f"at least {_plain(self.low)}" if self.low is not None else ""
        lowest = f"above {_plain(self.above)}" if self.above is not None else lowest
        highest = f"at most {_plain(self.high)}" if self.high is not None else ""
        return " and ".join(part for part in (lowest, highest) if part)


@cache
def all_settings() -> Mapping[str, Setting]:
    """Return every setting by its full key, in the order of the schema."""
    table_types = get_type_hints(RunConfig)
    rows: dict[str, Setting] = {}
    for table in fields(RunConfig):
        table_type = table_types[table.name]
        hints = get_type_hints(table_type)
        for item in fields(table_type):
            row = _row(table.name, item, _KIND_OF_TYPE[hints[item.name]])
            rows[row.key] = row
    return rows


def _row(table: str, item: Field[Any], kind: Kind) -> Setting:
    default = item.default if item.default_factory is MISSING else item.default_factory()
    return Setting(
        key=f"{table}.{item.name}", table=table, name=item.name, kind=kind, default=default, **item.metadata
    )


@cache
def table_names() -> tuple[str, ...]:
    """Return the names of the tables, in the order of the schema."""
    return tuple(table.name for table in fields(RunConfig))


def value_of(config: RunConfig, key: str) -> Any:
    """Return the value of the setting with this full key."""
    table, name = key.split(".", 1)
    return getattr(getattr(config, table), name)


def find_setting(name: str) -> Setting:
    """Return the setting meant by a full key or by a bare name that only one table has.

    Raises:
        ValueError: no setting, or several, go by this name; the message says which come near.
    """
    settings = all_settings()
    if name in settings:
        return settings[name]
    if name in table_names():
        inside = ", ".join(row.key for row in settings.values() if row.table == name)
        raise ValueError(f"this is a table, not a setting; it holds {inside}")
    meant = [row for row in settings.values() if row.name == name]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ValueError(f"several settings have this name; write {quoted_list(row.key for row in meant)}")
    raise ValueError(f"there is no such setting; {_did_you_mean(name)}")


def _did_you_mean(name: str) -> str:
    settings = all_settings()
    table, _, leaf = name.rpartition(".")
    if table in table_names():
        close = nearest(leaf, (row.name for row in settings.values() if row.table == table))
        if close is not None:
            return f"did you mean '{table}.{close}'?"
    elsewhere = [row.key for row in settings.values() if row.name == leaf]
    if elsewhere:
        return f"did you mean {quoted_list(elsewhere)}?"
    close = nearest(name, settings)
    if close is None:
        close = nearest(leaf, (row.name for row in settings.values()))
        close = next((row.key for row in settings.values() if row.name == close), None)
    return f"did you mean '{close}'?" if close else f"the tables are {', '.join(table_names())}"


def check_value(setting: Setting, value: Any) -> Any:
    """Return a value in the setting's own type, if it is of the kind and within the limits.

    Whole numbers serve where a number is wanted; nothing else is converted.

    Raises:
        ValueError: it is not; the message says what is wanted.
    """
    match setting.kind:
        case Kind.INT:
            if type(value) is not int:
                raise ValueError(f"must be a whole number, not {describe(value)}")
        case Kind.FLOAT:
            value = _finite(value)
        case Kind.BOOL:
            if type(value) is not bool:
                raise ValueError(f"must be true or false, not {describe(value)}")
        case Kind.STR:
            value = _text(value)
        case Kind.NAMES:
            value = _names(value)
        case Kind.WEIGHTS:
            value = _weights(value)
    _check_limits(setting, value)
    return value


def _check_limits(setting: Setting, value: Any) -> None:
    if setting.choices and value not in setting.choices:
        close = nearest(value, setting.choices)
        hint = f"; did you mean '{close}'?" if close else ""
        raise ValueError(f"must be {quoted_list(setting.choices)}, not '{value}'{hint}")
    too_low = setting.low is not None and value < setting.low
    not_above = setting.above is not None and value <= setting.above
    too_high = setting.high is not None and value > setting.high
    if too_low or not_above or too_high:
        raise ValueError(f"must be {setting.limits}, not {_plain(value)}")


def _finite(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"must be a number, not {describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {describe(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("holds bytes that are not UTF-8 text") from error
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f'must be a list of names such as ["q_proj", "v_proj"], not {describe(value)}')
    names = tuple(_text(name) for name in value)
    if not names or not all(name.strip() for name in names):
        raise ValueError("must hold at least one name, and no empty one")
    return names


def _weights(value: Any) -> Weights:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of weights such as {{math = 1.0}}, not {describe(value)}")
    weights: dict[str, float] = {}
    for name, weight in value.items():
        if isinstance(weight, Mapping):
            raise ValueError(f"the name '{name}.…' has a dot in it, so it must stand in quotes")
        try:
            weights[_text(name)] = _finite(weight)
        except ValueError as error:
            raise ValueError(f"the weight of '{name}' {error}") from error
    return Weights(weights)


def parse_text(setting: Setting, text: str) -> Any:
    """Return the value that a text from the command line stands for, checked.

    Raises:
        ValueError: it stands for none; the message says what is wanted.
    """
    match setting.kind:
        case Kind.STR:
            return check_value(setting, text)
        case Kind.INT:
            return check_value(setting, _parse_int(text))
        case Kind.FLOAT:
            return check_value(setting, parse_float(text))
        case Kind.BOOL:
            return check_value(setting, {"true": True, "false": False}.get(text.strip().casefold(), text))
        case Kind.NAMES:
            listed = _parse_toml(text) if text.lstrip().startswith("[") else text.split(",")
            stripped = [part.strip() if isinstance(part, str) else part for part in listed]
            return check_value(setting, stripped)
        case Kind.WEIGHTS:
            return check_value(setting, _parse_toml(text) if text.lstrip().startswith("{") else text)


def _parse_int(text: str) -> int | str:
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,30}\s*", text) else text


def parse_float(text: str) -> float | str:
    """Return the number a text stands for, or the text where it stands for none."""
    try:
        return float(text) if text.isascii() and "_" not in text else text
    except ValueError:
        return text


def _parse_toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, KeyError, RecursionError) as error:
        raise ValueError(f"'{text}' cannot be read as a TOML value") from error


def describe(value: Any) -> str:
    """Return a value with its kind, as an error message names it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            shown = value if len(value) <= 40 else value[:39] + "…"
            return f"the text '{shown}'"
        case int() | float():
            return f"{value}"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


def _plain(value: Any) -> str:
    """Return a number without a needless ``.0``."""
    return f"{value:g}" if isinstance(value, float) and value == round(value, 6) else f"{value}"
