"""The Breakpoints room: where the run stops by itself, and what that would have stopped."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Input

from grpo_tui.events.breakpoints import Breakpoint
from grpo_tui.events.commands import RemoveBreakpoint, SetBreakpoint
from grpo_tui.tui.action import bindings
from grpo_tui.tui.breaking import check_line, same
from grpo_tui.tui.layout import size_class
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.breakpoints import BreakpointsPanel, CheckPanel, GuidePanel
from grpo_tui.tui.room_actions import BREAK_ACTIONS
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView
from grpo_tui.tui.widgets.plain_input import PlainInput


class BreakpointsScreen(RoomScreen):
    """A list, a line to write in, what the line means, and what can be asked."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(BREAK_ACTIONS)]
    DEFAULT_CSS = """
    BreakpointsScreen Panel { position: relative; }
    BreakpointsScreen #body { height: 1fr; layout: horizontal; }
    BreakpointsScreen #left { width: 1fr; height: 100%; }
    BreakpointsScreen #list { height: 1fr; }
    BreakpointsScreen #check { height: 12; }
    BreakpointsScreen #guide { width: 1fr; height: 100%; }
    BreakpointsScreen Input { height: 3; border: round $foreground 25%; background: $background; padding: 0 1;
        border-title-color: $foreground 80%; }
    BreakpointsScreen Input:focus { border: round $accent; }
    BreakpointsScreen.-narrow #body { layout: vertical; }
    BreakpointsScreen.-narrow #left { width: 100%; height: 13; }
    BreakpointsScreen.-narrow #check { height: 6; }
    BreakpointsScreen.-narrow #guide { width: 100%; height: 1fr; }
    BreakpointsScreen.-tiny #left { height: 1fr; }
    BreakpointsScreen.-tiny #check { height: 5; }
    BreakpointsScreen.-tiny #guide { display: none; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="breakpoints")
        self.editing = 0
        """Number of the breakpoint in the line; 0 for a new one."""
        self._bound: tuple[object, ...] = ()
        self.breakpoints = BreakpointsPanel(id="list")
        self.line = PlainInput(id="line", placeholder="any group: sd == 0 and mean_length > 150")
        self.check = CheckPanel(id="check")
        self.guide = GuidePanel(id="guide")

    def compose(self) -> ComposeResult:
        """List, line and check on the left, the guide beside or below."""
        with Container(id="body"):
            with Vertical(id="left"):
                yield self.breakpoints
                yield self.line
                yield self.check
            yield self.guide
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Write at once where there is nothing to look at yet."""
        self._shape()
        self._entitle()
        if self.view.state.breakpoints or self._why_not():
            self.breakpoints.focus()
        else:
            self.line.focus()
        self.sync_view(force=True)

    def on_resize(self) -> None:
        """Another size, another shape."""
        self._shape()
        self.call_after_refresh(self.sync_view)

    def _shape(self) -> None:
        kind = size_class(*self.app.size)
        self.set_class(kind != "wide", "-narrow")
        self.set_class(kind == "tiny", "-tiny")

    def _why_not(self) -> str:
        if self.view.session.read_only:
            return "a recording stops nowhere: resume the run to set breakpoints"
        return "the run has ended: resume it to set breakpoints" if self.view.over else ""

    def sync_view(self, *, force: bool = False) -> None:
        """Rebuild what is stale."""
        self.check.offer = self.guide.offer if self.focused is self.guide else None
        for panel in self.query(Panel):
            panel.sync(self.view, force=force)
        key = (self.view.state.breakpoints, self.view.acts.asked, self.focused)
        if key != self._bound:
            self._bound = key
            self.refresh_bindings()

    # --- the line ------------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        """Read it as it is typed."""
        self.check.text, self.check.checked, self.check.note = event.value, check_line(event.value), ""
        self.sync_view()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Set it."""
        event.stop()
        read, why_not = self.check.checked.breakpoint, self._why_not()
        if why_not:
            self._say(why_not)
            return
        if read is None:
            if not event.value.strip():
                self._leave_line()
            return
        twin = next((b for b in self.view.state.breakpoints if same(b, read) and b.id != self.editing), None)
        if twin is not None:
            self._say(f"breakpoint {twin.id} is this one already")
            return
        old = next((b for b in self.view.state.breakpoints if b.id == self.editing), None)
        self._set(read, id=self.editing, once=old.once if old is not None else False)
        self.breakpoints.row = max(
            0, len(self.view.state.breakpoints) if old is None else self.breakpoints.row
        )
        self._leave_line()

    def _say(self, line: str) -> None:
        self.check.note = line
        self.sync_view()

    def _leave_line(self) -> None:
        self.editing = 0
        self.line.value = ""
        self._entitle()
        self.breakpoints.focus()
        self.sync_view()

    def _entitle(self) -> None:
        self.line.border_title = Content(
            f"Breakpoint {self.editing}"
            if self.editing
            else "New breakpoint: a condition, or before / after a phase"
        )

    def _set(self, one: Breakpoint, *, id: int, enabled: bool = True, once: bool = False) -> None:
        request = SetBreakpoint(
            id=id,
            condition=one.condition,
            phase=one.phase or "",
            after=one.after,
            enabled=enabled,
            once=once,
        )
        self.view.acts.ask(request)

    # --- keys ----------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now; Space is the list's own while that has the focus."""
        if action in ("switch", "once", "remove"):
            listed = self.is_mounted and self.focused is self.breakpoints
            return listed and bool(self.view.state.breakpoints) and not self._why_not()
        if action == "add":
            return not self._why_not()
        return True

    def action_back(self) -> None:
        """Out of the line first, then out of the room."""
        if self.focused is self.line and (self.line.value or self.editing or self.view.state.breakpoints):
            self._leave_line()
        else:
            super().action_back()

    def action_add(self) -> None:
        """Write a new one."""
        self.editing = 0
        self._entitle()
        self.line.focus()

    def action_take(self) -> None:
        """Edit the selected breakpoint, or take the selected row of the guide."""
        if self.focused is self.guide:
            self._take_offer()
            return
        selected = self.breakpoints.selected(self.view)
        if selected is not None and not self._why_not():
            self.editing = selected.id
            self.line.value = str(selected)
            self._entitle()
            self.line.focus()

    def _take_offer(self) -> None:
        offer = self.guide.offer
        line = self.line
        if offer.whole:
            line.value = offer.text
            line.cursor_position = len(offer.text)
        else:
            at = line.cursor_position
            gap = " " if at and not line.value[at - 1].isspace() and line.value[at - 1] not in "(:" else ""
            line.insert_text_at_cursor(f"{gap}{offer.text} ")
        line.focus()

    def action_switch(self) -> None:
        """Off, or on."""
        one = self.breakpoints.selected(self.view)
        if one is not None:
            self._set(one, id=one.id, enabled=not one.enabled, once=one.once)
            self.sync_view()

    def action_once(self) -> None:
        """Once, or every time."""
        one = self.breakpoints.selected(self.view)
        if one is not None:
            self._set(one, id=one.id, enabled=one.enabled, once=not one.once)
            self.sync_view()

    def action_remove(self) -> None:
        """Take it away."""
        one = self.breakpoints.selected(self.view)
        if one is not None:
            self.view.acts.ask(RemoveBreakpoint(one.id))
            self.sync_view()

    def action_move_row(self, by: int) -> None:
        """Select another breakpoint."""
        last = len(self.view.state.breakpoints) - 1
        self.breakpoints.row = max(0, min(last, self.breakpoints.row + by))
        self.sync_view()

    def action_move_offer(self, by: int) -> None:
        """Select another row of the guide."""
        self.guide.move(by)
        self.sync_view()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select a breakpoint; take a row of the guide."""
        if message.view is self.breakpoints:
            self.breakpoints.row = message.row
        elif message.view is self.guide and self.guide.names(message.row):
            self.guide.row = message.row
            self._take_offer()
        self.sync_view()
