"""Changes of a config as text: what differs between two configs, and a config with changes laid over it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grpo_tui.config.emit import to_text
from grpo_tui.config.errors import ConfigError, one_line
from grpo_tui.config.load import apply_overrides, with_value
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings, parse_text, value_of
from grpo_tui.config.validate import find_contradiction

Difference = tuple[str, str, str]
"""Full key, old value, new value; values as text."""


def differences(old: RunConfig, new: RunConfig) -> tuple[Difference, ...]:
    """Return every setting that differs, in the order of the schema."""
    return tuple(
        (key, to_text(setting, value_of(old, key)), to_text(setting, value_of(new, key)))
        for key, setting in all_settings().items()
        if value_of(old, key) != value_of(new, key)
    )


def with_changes(config: RunConfig, changes: Sequence[tuple[str, str]]) -> RunConfig:
    """Return the config as a person asks for it by ``(key, text)`` pairs, read as ``--set key=text`` is.

    Raises:
        ValueError: a pair cannot be used, or the whole contradicts itself; the message names the setting.
    """
    try:
        return apply_overrides(config, [f"{key}={text}" for key, text in changes])
    except ConfigError as error:
        raise ValueError(one_line(": ".join(part for part in (error.key, error.message) if part))) from error


def with_texts(config: RunConfig, texts: Iterable[tuple[str, str]]) -> RunConfig:
    """Return the config with exactly these settings replaced; naming an algorithm sets nothing but the name.

    This is how recorded differences are laid over a config, forwards or back.

    Raises:
        ValueError: a setting is not known, or a value cannot be used.
    """
    settings = all_settings()
    for key, text in texts:
        if key not in settings:
            raise ValueError(f"{key}: there is no such setting; was this written by a newer version?")
        try:
            config = with_value(config, key, parse_text(settings[key], text))
        except ValueError as error:
            raise ValueError(one_line(f"{key}: {error}")) from error
    contradiction = find_contradiction(config)
    if contradiction is not None:
        raise ValueError(one_line(": ".join(contradiction)))
    return config
