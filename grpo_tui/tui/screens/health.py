"""The Health room: every check with its evidence, what to do, and the settings it is about."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from grpo_tui.tui.action import bindings
from grpo_tui.tui.actions import TIME_ACTIONS
from grpo_tui.tui.health.checks import examine
from grpo_tui.tui.panels.health import report
from grpo_tui.tui.run_settings import settings_of
from grpo_tui.tui.screens.looking import Looking
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView


class HealthScreen(Looking, RoomScreen):
    """What the checks find at the step looked at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "back", show=False, id="health.back"),
        *bindings(TIME_ACTIONS),
    ]
    DEFAULT_CSS = """
    HealthScreen #report { height: 1fr; border: round $foreground 25%; padding: 0 1; background: $background; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="health")
        self._key: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """The report and the keys."""
        yield LinesView(id="report")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Take the focus, so that arrows scroll."""
        self.query_one("#report").focus()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self.call_after_refresh(self.sync_view, force=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        looking = self.check_looking(action)
        return True if looking is None else looking

    def sync_view(self, *, force: bool = False) -> None:
        """Examine the run anew when a step or an evaluation has come."""
        state, step = self.view.state, self.view.cursor.step
        key = (id(state.history), id(state.evals), id(state.run), step, id(state.settings_changes))
        if key == self._key and not force:
            return
        self._key = key
        sheet = self.query_one("#report", LinesView)
        findings = examine(state, step)
        sheet.set_lines(report(findings, settings_of(state), sheet.scrollable_content_region.width))
        bad = sum(1 for finding in findings if finding.level)
        where = f"after step {step}" if step is not None else f"after step {state.last_step}, live"
        sheet.border_title = Content(f"Health {where}")
        sheet.border_subtitle = Content(f"{bad} to look at, {len(findings) - bad} well")
