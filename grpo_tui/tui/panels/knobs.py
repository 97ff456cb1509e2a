"""The table of settings, and what is known of the one selected and of the changes collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import get_type_hints

from grpo_tui.config.changes import Difference
from grpo_tui.config.schema import RunConfig
from grpo_tui.events.types import SettingsChanged
from grpo_tui.tui.knobs import Knob, advice, when_together
from grpo_tui.tui.text import Line, Span, cells, clean, clip, fit, wrapped

NAME, VALUE, WHEN, DEFAULT, CHANGED = 23, 19, 16, 11, 6
"""Widths of the columns; what is allowed takes the rest."""
LONG_NAME = 27
"""Width of the names on a wide screen."""
MIN_ALLOWED = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a setting, or the heading of a table of them."""

    line: Line
    knob: Knob | None = None


def shown(text: str) -> str:
    """A value in one line; an empty one can be seen too."""
    return clean(text) or "(empty)"


def columns(width: int) -> dict[str, int]:
    """The columns that fit, with their widths; the order in which they are given up is that of their worth."""
    found = {"name": LONG_NAME if width >= 100 else NAME}
    found["value"] = min(VALUE, max(8, width - NAME - 3))
    rest = width - 2 - sum(found.values())
    for name, size in (("when", WHEN), ("changed", CHANGED)):
        if rest >= size:
            found[name] = size
            rest -= size
    if rest >= DEFAULT + MIN_ALLOWED:
        found["default"] = DEFAULT
        rest -= DEFAULT
    if rest >= MIN_ALLOWED:
        found["allowed"] = rest
    return found


def header(width: int) -> Line:
    """Names of the columns."""
    names = {
        "name": "setting",
        "value": "value",
        "when": "counts from",
        "changed": "since",
        "allowed": "allowed",
    }
    text = "".join(fit(names.get(name, name), size) for name, size in _ordered(columns(width)))
    return ((f"  {text}", "dim"),)


def _ordered(sizes: dict[str, int]) -> list[tuple[str, int]]:
    order = ("name", "value", "when", "changed", "default", "allowed")
    return [(name, sizes[name]) for name in order if name in sizes]


def rows(knobs: Sequence[Knob], width: int) -> list[Row]:
    """The table: settings below the heading of their table."""
    found: list[Row] = []
    table = ""
    for knob in knobs:
        if knob.setting.table != table:
            table = knob.setting.table
            found.append(
                Row(((table, "accent bold"), (clip(f"  {about_table(table)}", width - len(table)), "dim")))
            )
        found.append(Row(_line(knob, width), knob))
    return found


@cache
def about_table(name: str) -> str:
    """The help of a table of settings, its first sentence."""
    doc = get_type_hints(RunConfig)[name].__doc__ or ""
    return doc.strip().splitlines()[0].partition(". ")[0].rstrip(".")


def _line(knob: Knob, width: int) -> Line:
    sizes = columns(width)
    base = "dim" if knob.locked else ""
    spans: list[Span] = [("» " if knob.drafted is not None else "  ", "warn")]
    for name, size in _ordered(sizes):
        text, role = _cell(knob, name)
        spans.append((fit(text, size - 1) + " ", role or base))
    return tuple(spans)


def _cell(knob: Knob, name: str) -> Span:
    match name:
        case "name":
            return clean(knob.setting.name), ""
        case "value" if knob.drafted is not None:
            return f"→ {shown(knob.drafted)}", "warn bold"
        case "value":
            return shown(knob.value), "" if knob.locked or knob.value == knob.default else "bold"
        case "when":
            return knob.when, ""
        case "changed":
            return ("", "") if knob.changed_at is None else (f"@{knob.changed_at}", "info")
        case "default":
            return ("" if knob.value == knob.default else shown(knob.default)), "dim"
        case _:
            return knob.locked or knob.allowed, "dim"


def about(knob: Knob, config: RunConfig, changes: Sequence[SettingsChanged], width: int) -> list[Line]:
    """The selected setting in full: its help, values, what is known to harm, and how it came to its value."""
    state = f"locked: {knob.locked}" if knob.locked else f"{knob.allowed} · counts {from_when(knob.when)}"
    lines: list[Line] = [
        ((clip(knob.key, width), "bold"), (clip(f"  {knob.setting.doc}", width - cells(knob.key)), "")),
        ((clip(state, width), "dim"),),
    ]
    value = f"now {shown(knob.value)} · default {shown(knob.default)}"
    lines.append(((clip(value + _story(knob.key, changes), width), "dim"),))
    for line in advice(knob, config)[:1]:
        role = "dim" if line.startswith("usual") else "warn"
        lines.append(((clip(line if role == "dim" else f"⚠ {line}", width), role),))
    return lines


def _story(key: str, changes: Sequence[SettingsChanged]) -> str:
    """How a setting came to its value, newest first."""
    steps = [
        f" · @{event.step} {shown(change.old)} → {shown(change.new)}"
        + (" (taken back)" if event.undoes else "")
        for event in reversed(changes)
        for change in event.changes
        if change.key == key
    ]
    return "".join(steps)


def from_when(when: str) -> str:
    """From when something counts, within a sentence."""
    return "at once (read between steps)" if when == "at once" else f"from the {when}"


def counted(number: int) -> str:
    """``1 change``, ``3 changes``."""
    return f"{number} change" + ("" if number == 1 else "s")


def draft_lines(diff: Sequence[Difference], warnings: Sequence[str], width: int) -> list[Line]:
    """The changes collected, from when they would count, and what is known to harm in them."""
    when = from_when(when_together([key for key, _, _ in diff]))
    together = " together" if len(diff) > 1 else ""
    pairs = " · ".join(f"{key.rpartition('.')[2]} {shown(old)} → {shown(new)}" for key, old, new in diff)
    lines = wrapped(f"{counted(len(diff))},{together} {when}: {pairs}", width, "warn")
    return [*lines, *(line for text in warnings for line in wrapped(f"⚠ {text}", width, "warn"))]
