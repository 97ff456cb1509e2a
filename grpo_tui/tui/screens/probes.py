"""The Probes room: pinned prompts, read around updates. Did the update do what it was to do?"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from grpo_tui.events.commands import PinProbe, UnpinProbe
from grpo_tui.tui.action import bindings
from grpo_tui.tui.actions import TIME_ACTIONS
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.probes import ProbeListPanel, ProbePanel, selected
from grpo_tui.tui.screens.looking import Looking
from grpo_tui.tui.screens.pin import PinScreen
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView


class ProbesScreen(Looking, RoomScreen):
    """A list above, the selected probe's reading below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "pin", id="probes.add", tooltip="Type a prompt and pin it."),
        Binding("e", "held_out", "held-out", id="probes.held_out",
                tooltip="Pin the next held-out problem that is not pinned yet."),
        Binding("x", "unpin", "unpin", id="probes.unpin", tooltip="Read the selected prompt no more."),
        Binding("j", "move_probe(1)", "probe", key_display="j/k", id="probes.next", tooltip="Select the next probe."),
        Binding("k", "move_probe(-1)", "probe before", show=False, id="probes.previous",
                tooltip="Select the probe before."),
        *bindings(TIME_ACTIONS),
    ]  # fmt: skip
    DEFAULT_CSS = """
    ProbesScreen Panel { position: relative; }
    ProbesScreen #probe-list { height: 2fr; max-height: 14; min-height: 4; }
    ProbesScreen #probe { height: 3fr; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="probes")
        self._key: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """List, reading, keys."""
        yield ProbeListPanel(id="probe-list")
        yield ProbePanel(id="probe")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Arrows select."""
        self.query_one("#probe-list").focus()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self.call_after_refresh(self.sync_view, force=True)

    def sync_view(self, *, force: bool = False) -> None:
        """Rebuild what is stale."""
        for panel in self.query(Panel):
            panel.sync(self.view, force=force)
        key = (bool(self.view.state.probes), self.view.over, self.view.state.mode)
        if key != self._key:
            self._key = key
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        able = not self.view.session.read_only and not self.view.over
        if action in ("add", "held_out"):
            return able
        if action == "unpin":
            return able and bool(self.view.state.probes)
        if action == "move_probe":
            return len(self.view.state.probes) > 1
        looking = self.check_looking(action)
        return True if looking is None else looking

    def action_add(self) -> None:
        """Type a prompt."""
        self.app.push_screen(PinScreen(), self._pin)

    def _pin(self, request: PinProbe | None) -> None:
        if request is not None:
            self.view.ask(request)

    def action_held_out(self) -> None:
        """Pin the next held-out problem."""
        self.view.ask(PinProbe(held_out=-1))

    def action_unpin(self) -> None:
        """Read the selected one no more."""
        probe = selected(self.view)
        if probe is not None:
            self.view.ask(UnpinProbe(probe.probe))

    def action_move_probe(self, by: int) -> None:
        """Select another probe."""
        last = max(0, len(self.view.state.probes) - 1)
        self.view.probe_row = max(0, min(last, min(self.view.probe_row, last) + by))
        self.sync_view()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select the probe that was clicked."""
        row = message.row - ProbeListPanel.HEADER
        if message.view.id == "probe-list" and 0 <= row < len(self.view.state.probes):
            self.view.probe_row = row
            self.sync_view()
