"""Editing a setting in its place in the table: a line over its value, and below it what is wrong with what is typed."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import Input

from grpo_tui.tui.asking import Asking
from grpo_tui.tui.knobs import Knob, choices_of, new_warnings
from grpo_tui.tui.panels.knobs import Row, columns
from grpo_tui.tui.run_settings import settings_of
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.text import first_line, wrapped
from grpo_tui.tui.widgets.lines import LinesView

COMPLAINT_ROWS = 3


class Editor(Input):
    """The line that stands in the place of a value while it is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "collect", key_display="Enter", show=True, id="tune.collect"),
        Binding("up", "screen.choose(-1)", show=False, id="tune.previous_choice"),
        Binding("down", "screen.choose(1)", show=False, id="tune.next_choice"),
    ]


class Editing(RoomScreen):
    """The half of the Tune room that types. The other half shows the table and asks the engine."""

    def begin_editing(self) -> None:
        """Nothing is being typed yet."""
        self.rows: list[Row] = []
        self.editing = ""
        """Key of the setting that is being typed; empty where none is."""
        self.asked = ""
        """What the next press of the same key does: ``apply`` or ``undo``; empty where nothing was asked."""
        self.asking = Asking(self.view)

    @property
    def can_change(self) -> bool:
        """Whether there is an engine that takes changes."""
        return not self.view.session.read_only and not self.view.over and self.view.state.run is not None

    @property
    def knob(self) -> Knob | None:
        """The selected setting."""
        raise NotImplementedError

    def settle(self) -> None:
        """After a key of the person's: no question stands any more."""
        self.asked = ""
        self.sync_view()

    def search(self, query: str) -> None:
        """Show the settings that have these words."""
        raise NotImplementedError

    def action_edit(self) -> None:
        """Put a line over the value of the selected setting."""
        knob = self.knob
        if not self.can_change or knob is None or knob.locked:
            return
        self.asked, self.asking.told = "", ()
        self.editing = knob.key
        table = self.query_one("#knobs", LinesView)
        table.reveal([row.knob for row in self.rows].index(knob), 1)
        line = self.query_one("#edit", Editor)
        line.value = knob.drafted if knob.drafted is not None else knob.value
        line.display = self.query_one("#complaint").display = True
        line.focus()
        line.action_select_all()
        self.call_after_refresh(self.place_editor)

    def place_editor(self) -> None:
        """Over the value's column, the complaint below it."""
        table = self.query_one("#knobs", LinesView)
        keys = [row.knob.key if row.knob else "" for row in self.rows]
        if self.editing not in keys:
            return
        region = table.content_region
        top = region.y + keys.index(self.editing) - table.scroll_offset.y
        sizes = columns(region.width)
        left = region.x + 2 + sizes["name"]
        line, complaint = self.query_one("#edit", Editor), self.query_one("#complaint", LinesView)
        line.styles.offset = (left, max(region.y, min(region.bottom - 2, top)))
        line.styles.width = max(6, region.right - left)
        complaint.styles.offset = (left, max(region.y, min(region.bottom - 2, top)) + 1)
        complaint.styles.width = max(6, region.right - left)
        self.call_after_refresh(self._complain)

    def _complain(self) -> None:
        """Say below the line what is wrong with it, or from when it would count."""
        if not self.editing:
            return
        complaint = self.query_one("#complaint", LinesView)
        text = self.query_one("#edit", Editor).value
        choices = choices_of(self._knob_of(self.editing).setting)
        now = settings_of(self.view.state)
        try:
            wanted = self.view.draft.would_be(now, self.editing, text)
        except ValueError as error:
            text, role = first_line(str(error)).removeprefix(f"{self.editing}: "), "bad"
        else:
            worse = [w for w in new_warnings(now, wanted) if self.editing in w]
            hint = f"↑↓ {', '.join(choices)}" if choices else self._knob_of(self.editing).allowed
            text, role = (f"⚠ {worse[0]}", "warn") if worse else (hint, "dim")
        lines = wrapped(text, max(6, complaint.size.width - 1), role)[:COMPLAINT_ROWS]
        complaint.styles.height = len(lines)
        complaint.set_lines(lines)

    def _knob_of(self, key: str) -> Knob:
        return next(row.knob for row in self.rows if row.knob and row.knob.key == key)

    def action_choose(self, by: int) -> None:
        """The next or the previous of a setting's choices."""
        if not self.editing:
            return
        choices = choices_of(self._knob_of(self.editing).setting)
        line = self.query_one("#edit", Editor)
        if choices:
            at = choices.index(line.value) if line.value in choices else -by
            line.value = choices[(at + by) % len(choices)]
            line.action_select_all()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Judge what is typed at once."""
        event.stop()
        if event.input.id == "edit":
            self._complain()
        elif event.input.display:
            self.search(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Collect the change, or leave the filter as it is."""
        event.stop()
        if event.input.id != "edit":
            self.query_one("#knobs").focus()
            return
        try:
            self.view.draft.edit(settings_of(self.view.state), self.editing, event.value)
        except ValueError:
            self._complain()
            return
        self.end_edit()

    def end_edit(self) -> None:
        """Put the line away."""
        self.editing = ""
        self.query_one("#edit", Editor).display = self.query_one("#complaint").display = False
        self.query_one("#knobs").focus()
        self.settle()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """A click elsewhere leaves the line."""
        if self.editing and event.widget.id == "edit" and self.app.screen is self:
            self.end_edit()
