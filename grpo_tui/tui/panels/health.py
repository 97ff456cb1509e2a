"""Is the run well? The worst findings first, each in a line; what is well in one."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import value_of
from grpo_tui.tui.health.checks import examine
from grpo_tui.tui.health.finding import MIN_STEPS, Finding, Level
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.rooms import ROOMS
from grpo_tui.tui.text import Line, clean, clip, wrapped
from grpo_tui.tui.view import RunView

SIGNS: dict[Level, tuple[str, str]] = {
    Level.OK: ("✓", "good"),
    Level.WATCH: ("◇", "warn"),
    Level.WARN: ("⚠", "bad bold"),
}
"""A sign and a role for each level: the sign says it without colour."""
NOT_YET = f"nothing to say before {MIN_STEPS} steps"


class HealthPanel(Panel):
    """What may be wrong, worst first."""

    TITLE: ClassVar[str] = "Health"
    HELP: ClassVar[str] = (
        "What may be wrong with the run: ⚠ known to spoil runs, ◇ unusual, ✓ well. Enter or h shows the evidence and "
        "what to do."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """What the checks read."""
        state = view.state
        return (state.history, state.evals, state.run, view.cursor.step, state.settings_changes)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """A line for each finding that is not well, with its advice where there is room; the others in one line."""
        width, height = size
        findings = examine(view.state, view.cursor.step)
        bad = [finding for finding in findings if finding.level]
        self.set_title("Health", "h why" if findings else "")
        if not findings:
            return [((NOT_YET, "dim"),)], None
        well = _well(findings, width)
        room = height - min(1, len(well))
        lines: list[Line] = []
        spare = room - len(bad)
        for finding in bad[: max(1, room)]:
            lines.append(_headline(finding, width))
            advice = [(("  ", ""), *row) for row in wrapped(finding.advice, max(1, width - 2), "dim")]
            if len(advice) <= spare:
                lines += advice
                spare -= len(advice)
        hidden = len(bad) - max(1, room)
        if hidden > 0:
            self.set_title("Health", f"{hidden} more · h why")
        last = well[: height - len(lines)]
        return [*lines, *last][:height], None


def _headline(finding: Finding, width: int) -> Line:
    sign, role = SIGNS[finding.level]
    text = f" {clean(finding.check)} {clean(finding.brief)}"
    return ((sign, role), (clip(text, max(0, width - 1)), "bold" if finding.level is Level.WARN else ""))


def _well(findings: list[Finding], width: int) -> list[Line]:
    """What is well, by name; the first line is the one that stays where there is room for one."""
    names = [finding.check for finding in findings if not finding.level]
    if not names:
        return []
    sign, role = SIGNS[Level.OK]
    first, *more = wrapped(" · ".join(names), max(1, width - 2), "dim")
    return [((sign, role), (" ", ""), *first), *(((("  ", ""), *row)) for row in more)]


def report(findings: list[Finding], config: RunConfig, width: int) -> list[Line]:
    """Every finding with evidence, advice, where to look, and the settings it is about with their present values."""
    lines: list[Line] = []
    for finding in findings:
        sign, role = SIGNS[finding.level]
        lines.append(
            ((sign, role), (f" {clean(finding.check)}", "bold"), (f"  {clean(finding.brief)}", "dim"))
        )
        lines += _indented(finding.evidence, width, "" if finding.level else "dim")
        if finding.advice:
            lines += _indented(f"→ {finding.advice}", width, "accent")
        if finding.look:
            lines += _indented(f"look: {finding.look}", width, "dim")
        if finding.knobs:
            lines += _indented(
                f"{_tune()} {', '.join(_knob(config, key) for key in finding.knobs)}", width, "dim"
            )
        lines.append((("", ""),))
    return lines or [((NOT_YET, "dim"),)]


def _indented(text: str, width: int, role: str) -> list[Line]:
    return [(("  ", ""), *row) for row in wrapped(text, max(1, width - 2), role)]


def _tune() -> str:
    """Where settings are changed: the Tune room, if this program has one."""
    key = next((room.keys.split(",")[0] for room in ROOMS if room.id == "tune"), "")
    return f"{key} Tune:" if key else "settings:"


def _knob(config: RunConfig, key: str) -> str:
    value = value_of(config, key)
    text = f"{value:g}" if isinstance(value, float) else f"{value}"
    return f"{key} {text}" if not isinstance(value, str) or len(text) < 24 else key
