"""From a preset, a TOML file and ``key=value`` pairs to one checked :class:`RunConfig`; the later wins.

Naming another algorithm is setting all its parts: what an earlier source set of them is gone, what the same or a
later one sets stays.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grpo_tui.config.algorithms import ALGORITHMS, with_algorithm
from grpo_tui.config.errors import ConfigError, nearest
from grpo_tui.config.presets import PRESETS
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import (
    Kind,
    Setting,
    all_settings,
    check_value,
    describe,
    find_setting,
    parse_float,
    parse_text,
    table_names,
    value_of,
)
from grpo_tui.config.validate import find_contradiction

NAME_KEY = "algorithm.name"

DEFAULT = "default"
"""Where a value comes from that nobody set."""


@dataclass(frozen=True, slots=True)
class TracedConfig:
    """A config, and for each full key where its value came from."""

    config: RunConfig
    origins: Mapping[str, str]


def load_config(
    *, preset: str | None = None, file: Path | None = None, overrides: Sequence[str] = ()
) -> RunConfig:
    """Return the config that a preset, then a TOML file, then ``key=value`` pairs describe.

    Args:
        preset: name of a preset; it takes the place of one named in the file.
        file: TOML file with the tables of :class:`RunConfig`.
        overrides: pairs such as ``optim.lr=1e-4``; a bare name will do where only one table has it.

    Raises:
        ConfigError: something in them cannot be used.
    """
    return trace_config(preset=preset, file=file, overrides=overrides).config


def trace_config(
    *, preset: str | None = None, file: Path | None = None, overrides: Sequence[str] = ()
) -> TracedConfig:
    """Do what :func:`load_config` does, and say where each value came from.

    Raises:
        ConfigError: something in them cannot be used.
    """
    where = f"--preset {preset}"
    document: dict[str, Any] = {}
    if file is not None:
        document = _read_toml(file)
        named = document.pop("preset", None)
        if preset is None and named is not None:
            where = f"{file}"
            preset = named
    config = RunConfig() if preset is None else _preset(preset, where)
    origins = {
        key: DEFAULT if preset is None or value_of(config, key) == setting.default else f"preset {preset}"
        for key, setting in all_settings().items()
    }
    if file is not None:
        values = _values_in(document, file)
        if NAME_KEY in values:
            config = _with_row(config, values[NAME_KEY], origins)
        for key, value in values.items():
            config = with_value(config, key, value)
            origins[key] = f"{file}"
    for override in _name_first(overrides):
        key, config = _apply(config, override, origins)
        origins[key] = f"--set {override}"
    contradiction = find_contradiction(config)
    if contradiction is not None:
        key, message = contradiction
        origin = origins[key]
        raise ConfigError("config" if origin == DEFAULT else origin, key, message)
    return TracedConfig(config, origins)


def apply_overrides(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Return a config with ``key=value`` pairs laid over it, checked as a whole.

    Raises:
        ConfigError: a pair cannot be used.
    """
    for override in _name_first(overrides):
        _, config = _apply(config, override)
    contradiction = find_contradiction(config) if overrides else None
    if contradiction is not None:
        key, message = contradiction
        raise ConfigError(f"--set {overrides[-1]}", key, message)
    return config


def _name_first(overrides: Sequence[str]) -> list[str]:
    """The overrides with those that name an algorithm in front, for a name sets every part anew."""
    return sorted(overrides, key=lambda override: override.partition("=")[0].strip() != NAME_KEY)


def _with_row(config: RunConfig, name: str, origins: dict[str, str] | None = None) -> RunConfig:
    """Every part as the named algorithm has it."""
    if origins is not None:
        origins.update(dict.fromkeys(ALGORITHMS[name], f"algorithm {name}"))
    return with_algorithm(config, name)


def _preset(name: Any, where: str) -> RunConfig:
    if not isinstance(name, str):
        raise ConfigError(where, "preset", f"must be the name of a preset, not {describe(name)}")
    if name not in PRESETS:
        close = nearest(name, PRESETS)
        hint = f"did you mean '{close}'?" if close else f"the presets are {', '.join(PRESETS)}"
        raise ConfigError(where, "", f"there is no preset '{name}'; {hint}")
    return PRESETS[name]()


def with_value(config: RunConfig, key: str, value: Any) -> RunConfig:
    """Return the config with one setting replaced, not checked."""
    table, name = key.split(".", 1)
    changes: dict[str, Any] = {table: replace(getattr(config, table), **{name: value})}
    return replace(config, **changes)


# --- key=value -------------------------------------------------------------------------------------------


def _apply(config: RunConfig, override: str, origins: dict[str, str] | None = None) -> tuple[str, RunConfig]:
    where = f"--set {override}"
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError(where, "", "must be key=value, for example optim.lr=1e-4")
    for prefix in ("reward.weights.", "weights."):
        if name.startswith(prefix):
            return _apply_weight(config, name.removeprefix(prefix), text, where)
    try:
        setting = find_setting(name)
    except ValueError as error:
        raise ConfigError(where, "", str(error)) from error
    try:
        value = parse_text(setting, text)
    except ValueError as error:
        raise ConfigError(where, setting.key, str(error)) from error
    if setting.key == NAME_KEY:
        config = _with_row(config, value, origins)
    return setting.key, with_value(config, setting.key, value)


def _apply_weight(config: RunConfig, name: str, text: str, where: str) -> tuple[str, RunConfig]:
    setting = all_settings()["reward.weights"]
    weights = {**config.reward.weights, name: parse_float(text)}
    try:
        return setting.key, with_value(config, setting.key, check_value(setting, weights))
    except ValueError as error:
        raise ConfigError(where, setting.key, str(error)) from error


# --- TOML ------------------------------------------------------------------------------------------------


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{file}", "", f"there is no such file{_neighbour(file)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{file}", "", "is a folder; name a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}", "", "is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{file}", "", f"cannot be read: {error.strerror}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, line = _toml_trouble(str(error), text)
        raise ConfigError(f"{file}:{line}", "", f"not valid TOML: {what}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}", "", "is nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{file}", "", f"holds a value that cannot be read: {error}") from error


def _toml_trouble(message: str, text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if found is None:
        return message.removesuffix(" (at end of document)"), max(text.count("\n"), 1)
    hint = "; text needs quotes" if found[1] == "Invalid value" else ""
    return f"{found[1]} (column {found[3]}){hint}", int(found[2])


def _neighbour(file: Path) -> str:
    try:
        close = nearest(file.name, (path.name for path in file.parent.iterdir()))
    except OSError:
        return ""
    return f"; did you mean '{file.parent / close}'?" if close else ""


def _values_in(document: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the checked values of a parsed file by full key."""
    values: dict[str, Any] = {}
    for table, content in document.items():
        if table not in table_names():
            raise ConfigError(_at(file, "", table), table, _unknown_top(table))
        if not isinstance(content, Mapping):
            message = (
                f"is a table, so it takes the form [{table}] with settings below it, not {describe(content)}"
            )
            raise ConfigError(_at(file, "", table), table, message)
        for name, value in content.items():
            setting = _setting_in_file(file, table, name)
            try:
                values[setting.key] = check_value(setting, value)
            except ValueError as error:
                line_of = name if setting.kind is not Kind.WEIGHTS else ""
                raise ConfigError(_at(file, table, line_of), setting.key, str(error)) from error
    return values


def _setting_in_file(file: Path, table: str, name: str) -> Setting:
    key = f"{table}.{name}"
    if key in all_settings():
        return all_settings()[key]
    try:
        return find_setting(key)
    except ValueError as error:
        raise ConfigError(_at(file, table, name), key, str(error)) from error


def _unknown_top(name: str) -> str:
    homes = [row for row in all_settings().values() if row.name == name]
    if homes:
        return f"this setting belongs in a table; put it under [{homes[0].table}]"
    close = nearest(name, table_names())
    return (
        f"there is no such table; did you mean [{close}]?"
        if close
        else (f"there is no such table; the tables are {', '.join(table_names())}")
    )


def _at(file: Path, table: str, name: str) -> str:
    """Return the file with the line on which a key (or, at the top level, a table) stands, where that is plain."""
    try:
        lines = file.read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return f"{file}"
    current = ""
    found = []
    for number, line in enumerate(lines, start=1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        if header:
            current = header[1]
            if not table and current.split(".")[0] == name:
                found.append(number)
            continue
        key = re.match(r"\s*([\w.-]+)\s*=", line)
        written = f"{current}.{key[1]}".lstrip(".") if key else ""
        wanted = f"{table}.{name}" if table else name
        if written and (written == wanted or written.startswith(f"{wanted}.")):
            found.append(number)
    return f"{file}:{found[0]}" if found else f"{file}"
