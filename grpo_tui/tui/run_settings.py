"""The settings of the run on screen, read from the text that the run recorded of them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import lru_cache
from typing import Any

from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings, check_value
from grpo_tui.events.state import RunState


def settings_of(state: RunState) -> RunConfig:
    """The run's settings with every change that was made to them; the defaults before it has told them."""
    return parse(state.config_toml)


@lru_cache(maxsize=8)
def parse(config_toml: str) -> RunConfig:
    """Settings from TOML, leniently: what is unknown or unusable here keeps its default.

    A screen must show the run of another version of the program as well as it can, so nothing is raised.
    """
    try:
        document = tomllib.loads(config_toml)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return RunConfig()
    config = RunConfig()
    for key, setting in all_settings().items():
        table = document.get(setting.table)
        if not isinstance(table, dict) or setting.name not in table:
            continue
        try:
            value = check_value(setting, table[setting.name])
        except ValueError:
            continue
        section, name = key.split(".", 1)
        changes: dict[str, Any] = {section: replace(getattr(config, section), **{name: value})}
        config = replace(config, **changes)
    return config
