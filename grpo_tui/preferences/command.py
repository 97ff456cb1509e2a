"""``grpo-tui config``: show what holds and why, tell where the file is, write a commented one."""

from __future__ import annotations

import json
import sys

from grpo_tui.preferences.file import BrokenFileError, replace_text
from grpo_tui.preferences.template import TEMPLATE
from grpo_tui.preferences.values import Preferences


def run(do: str, preferences: Preferences, *, as_json: bool) -> int:
    """Do it and give the exit code: 2 where the file is in the way, or cannot be written."""
    assert preferences.path is not None
    if do == "path":
        sys.stdout.write(f"{preferences.path}\n")
        return 0
    if do == "init":
        return _init(preferences)
    for problem in preferences.problems:
        sys.stderr.write(f"grpo-tui: config: {problem}\n")
    sys.stdout.write(_as_json(preferences) if as_json else shown(preferences))
    return 0


def shown(preferences: Preferences) -> str:
    """One line per value: key, value, origin."""
    rows = [
        (key, json.dumps(value, ensure_ascii=False), preferences.origin(key))
        for key, value in preferences.values.items()
    ]
    keys, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "".join(f"{key:<{keys}}  {value:<{values}}  {origin}\n" for key, value, origin in rows)


def _as_json(preferences: Preferences) -> str:
    rows = {
        key: {"value": value, "origin": preferences.origin(key)} for key, value in preferences.values.items()
    }
    return json.dumps(rows, indent=2) + "\n"


def _init(preferences: Preferences) -> int:
    path = preferences.path
    assert path is not None
    if path.exists():
        sys.stderr.write(f"grpo-tui: error: {path} exists; edit it, or move it away first\n")
        return 2
    try:
        replace_text(path, TEMPLATE)
    except BrokenFileError as error:
        sys.stderr.write(f"grpo-tui: error: {error}\n")
        return 2
    sys.stdout.write(f"{path}\n")
    return 0
