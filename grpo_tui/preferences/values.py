"""The preferences with their defaults, and where each value came from: default, file, environment or command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpo_tui.config.errors import nearest, one_line
from grpo_tui.preferences.file import BrokenFileError, config_path, line_of, read_document

DEFAULT = "default"
SIZE_CLASSES = ("tiny", "narrow", "wide")
"""Those of ``tui/layout.py``: a screen of each remembers a layout of its own."""
LAYOUT = ("zoom", "chart")
KEYS, LAYOUTS = "keys", "layout"

DEFAULTS: Mapping[str, str] = {"theme": "textual-dark", "paths.runs": "runs", "paths.exports": ""}
"""The fixed keys. ``keys.ID`` and ``layout.CLASS.NAME`` are beside them, and have no defaults."""
ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "theme": ("GRPO_TUI_THEME", "TEXTUAL_THEME"),
    "paths.runs": ("GRPO_TUI_RUNS",),
}
"""Variables that go before the file; the first that is set counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """All values by dotted key, their origins, and what was wrong with the file, one line each."""

    path: Path | None = None
    """The file, whether it exists or not; None: nothing is remembered."""
    values: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULTS))
    origins: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def origin(self, key: str) -> str:
        """Where a value came from."""
        return self.origins.get(key, DEFAULT)

    @property
    def theme(self) -> str:
        """Name of the theme."""
        return self.values["theme"]

    @property
    def runs(self) -> Path:
        """The folder that holds the runs."""
        return Path(self.values["paths.runs"]).expanduser()

    @property
    def exports(self) -> Path | None:
        """Where copies and exports go; None: the run's own folder."""
        return Path(self.values["paths.exports"]).expanduser() if self.values["paths.exports"] else None

    @property
    def keys(self) -> dict[str, str]:
        """Keys by the id of what they do."""
        return self._below(KEYS)

    def layout(self, size_class: str) -> dict[str, str]:
        """What is remembered for a size class of the terminal."""
        return self._below(f"{LAYOUTS}.{size_class}")

    def _below(self, table: str) -> dict[str, str]:
        start = f"{table}."
        return {key.removeprefix(start): value for key, value in self.values.items() if key.startswith(start)}


def load_preferences(
    *,
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, str | None] | None = None,
) -> Preferences:
    """The preferences as file, then environment, then command line have them. Never fails: see ``problems``.

    Args:
        path: the file; None: in the XDG place.
        environment: variables; None: those of this process.
        arguments: values of the command line by dotted key; None where nothing was said.
    """
    environment = os.environ if environment is None else environment
    path = config_path(environment) if path is None else path
    values, origins, problems = dict(DEFAULTS), {}, []
    try:
        text, document = read_document(path)
    except BrokenFileError as error:
        problems.append(one_line(str(error)))
        text, document = "", {}
    for key, value in flattened(document).items():
        line = line_of(text, key)
        where = f"{path}:{line}" if line else f"{path}"
        wrong = _fault(key, value)
        if wrong:
            problems.append(one_line(f"{where}: {key}: {wrong}"))
            continue
        values[key], origins[key] = value, f"config file {where}"
    for key, names in ENVIRONMENT.items():
        for name in names:
            if environment.get(name):
                values[key], origins[key] = environment[name], f"environment {name}"
                break
    for key, given in (arguments or {}).items():
        if given is not None:
            values[key], origins[key] = given, "command line"
    return Preferences(path=path, values=values, origins=origins, problems=tuple(problems))


def flattened(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key: ``"look.sort" = "S"`` and ``look.sort = "S"`` are one."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _fault(key: str, value: Any) -> str:
    """What is wrong with one entry of the file; empty where nothing is."""
    if not _known(key):
        known = [*DEFAULTS, *(f"{LAYOUTS}.{size}.{name}" for size in SIZE_CLASSES for name in LAYOUT)]
        close = nearest(key, known)
        hint = f"did you mean '{close}'?" if close else "see `grpo-tui config init` for those there are"
        return f"there is no such preference; {hint}"
    if not isinstance(value, str):
        return f'must be text in quotes, as {key.rpartition(".")[2]} = "…"; ignored'
    if key == "theme" and not value:
        return "must name a theme; ignored"
    return ""


def _known(key: str) -> bool:
    table, _, rest = key.partition(".")
    if table == KEYS:
        return bool(rest)
    if table == LAYOUTS:
        size, _, name = rest.partition(".")
        return size in SIZE_CLASSES and name in LAYOUT
    return key in DEFAULTS
