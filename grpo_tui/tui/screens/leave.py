"""Leaving: the question while a step runs, and the wait while the engine saves."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from grpo_tui.tui.text import Line, duration
from grpo_tui.tui.widgets.lines import LinesView

SHEET = """
    align: center middle;
    LinesView { width: 62; max-width: 100%; height: 9; max-height: 100%; border: round $warning; padding: 1 2;
        background: $surface; border-title-color: $text-warning; border-title-style: bold; }
"""
"""How a short question in the middle of the screen looks."""


class LeaveScreen(ModalScreen[str | None]):
    """Asks what to do with the step in progress. Answers ``finish``, ``now`` or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "dismiss('finish')", "finish", id="leave.finish"),
        Binding("s,enter", "dismiss('now')", "save and quit now", id="leave.now"),
        Binding("escape,c,q", "dismiss(None)", "cancel", id="leave.cancel"),
    ]
    DEFAULT_CSS = f"LeaveScreen {{ {SHEET} }}"

    def __init__(self, step: int) -> None:
        super().__init__(id="leave")
        self._step = step

    def compose(self) -> ComposeResult:
        """Three choices."""
        yield LinesView(id="question")

    def on_mount(self) -> None:
        """Write them."""
        sheet = self.query_one("#question", LinesView)
        sheet.border_title = Content(f"Step {self._step} is running")
        lines: list[Line] = [
            (("f", "key"), ("    finish the step, save, and quit", "")),
            (("s", "key"), ("    save and quit now (the step in progress is lost)", "")),
            (("Esc", "key"), ("  cancel", "")),
        ]
        sheet.set_lines(lines)


class ClosingScreen(ModalScreen[None]):
    """Shown while the engine stops and saves; counts down to leaving anyway."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+q", "app.leave_at_once", "leave at once", id="closing.leave"),
    ]
    DEFAULT_CSS = f"ClosingScreen {{ {SHEET} }}"

    def __init__(self) -> None:
        super().__init__(id="closing")

    def compose(self) -> ComposeResult:
        """One note."""
        yield LinesView(id="note")

    def show(self, seconds_left: float, *, after_step: bool = False) -> None:
        """Say what is waited for."""
        for sheet in self.query("#note").results(LinesView):
            what = (
                "finishing the step, then saving…"
                if after_step
                else f"saving…  at most {duration(seconds_left)} more"
            )
            sheet.set_lines([((what, "bold"),), (("", ""),), (("q", "key"), ("  leave at once", ""))])
