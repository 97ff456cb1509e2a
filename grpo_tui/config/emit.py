"""A config written out: as TOML that reads back to an equal config, and as plain dictionaries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from grpo_tui.config.algorithms import with_algorithm
from grpo_tui.config.errors import ConfigError
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import Kind, Setting, all_settings, check_value, table_names, value_of
from grpo_tui.config.validate import validate


def to_toml(config: RunConfig) -> str:
    """Return the whole config as TOML, each setting under its line of help.

    Reading it back gives an equal config: every setting is written, and numbers keep every digit.
    """
    blocks = []
    for table in table_names():
        rows = [row for row in all_settings().values() if row.table == table]
        # A table inside a table has to come after the plain settings, or it would swallow them.
        plain = [row for row in rows if row.kind is not Kind.WEIGHTS]
        lines = [f"[{table}]"]
        for row in plain:
            lines += [_comment(row), f"{row.name} = {_value(value_of(config, row.key))}"]
        blocks.append("\n".join(lines))
        for row in rows:
            if row.kind is Kind.WEIGHTS:
                weights = value_of(config, row.key).items()
                lines = [_comment(row), f"[{row.key}]"]
                lines += [f"{_key(name)} = {_value(weight)}" for name, weight in weights]
                blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _comment(setting: Setting) -> str:
    limits = f" ({setting.limits})" if setting.limits else ""
    return f"# {setting.doc}{limits}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # TOML's escapes are those of JSON, but it wants DEL escaped as well.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            return repr(value)


def to_text(setting: Setting, value: Any) -> str:
    """Return a value as a person would type it; ``parse_text`` makes the same value of it again."""
    match setting.kind:
        case Kind.STR:
            return str(value)
        case Kind.FLOAT:
            return _short(value)
        case Kind.NAMES if not any(re.search(r"[,\[]|^\s|\s$", name) for name in value):
            return ",".join(value)
        case Kind.WEIGHTS:
            return "{" + ", ".join(f"{_key(name)} = {_short(weight)}" for name, weight in value.items()) + "}"
        case _:
            return _value(value)


def _short(number: float) -> str:
    """Every digit of a number, without the zeros that say nothing: ``1``, ``0.04``, ``2.5e-4``."""
    if 0 < abs(number) <= 1e-3:
        return f"{Decimal(repr(number)).normalize():e}"
    return repr(number).removesuffix(".0")


def to_dict(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the config as plain dictionaries, lists and scalars, ready for JSON."""
    tables: dict[str, dict[str, Any]] = {table: {} for table in table_names()}
    for setting in all_settings().values():
        value = value_of(config, setting.key)
        if setting.kind is Kind.WEIGHTS:
            value = dict(value)
        elif setting.kind is Kind.NAMES:
            value = list(value)
        tables[setting.table][setting.name] = value
    return tables


def from_dict(tables: Mapping[str, Mapping[str, Any]], *, where: str = "config") -> RunConfig:
    """Return the config that :func:`to_dict` was given.

    Settings that are missing keep their defaults, or what the named algorithm sets.

    Raises:
        ConfigError: a key is not known, or a value cannot be used.
    """
    settings = all_settings()
    changes: dict[str, dict[str, Any]] = {}
    for table, content in tables.items():
        for name, value in content.items():
            key = f"{table}.{name}"
            if key not in settings:
                raise ConfigError(
                    where, key, "there is no such setting; was this written by a newer version?"
                )
            try:
                changes.setdefault(table, {})[name] = check_value(settings[key], value)
            except ValueError as error:
                raise ConfigError(where, key, str(error)) from error
    defaults = with_algorithm(
        RunConfig(), changes.get("algorithm", {}).get("name", RunConfig().algorithm.name)
    )
    built = {table: replace(getattr(defaults, table), **values) for table, values in changes.items()}
    config = replace(defaults, **built)
    validate(config, where=where)
    return config
