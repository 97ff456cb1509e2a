"""Leaving: the question while a step runs, and the wait while the engine saves."""

from __future__ import annotations

import math
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from grpo_tui.tui.text import Line, duration
from grpo_tui.tui.widgets.lines import LinesView

WIDTH, FRAME = 62, 4
"""Of the box; rows of its border and padding."""
SHEET = f"""
    align: center middle;
    LinesView {{ width: {WIDTH}; max-width: 100%; height: 9; max-height: 100%; border: round $warning; padding: 1 2;
        background: $surface; border-title-color: $text-warning; border-title-style: bold; }}
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

    def __init__(self, step: int | None, what: str = "quit", *, running: bool = True) -> None:
        """Ask.

        Args:
            step: the step in progress; None between two.
            what: one is about to do, a word or two.
            running: whether training goes on; else it waits inside the step.
        """
        super().__init__(id="leave")
        self._step, self._what, self._runs = step, what, running

    def compose(self) -> ComposeResult:
        """The choices."""
        yield LinesView(id="question")

    def on_mount(self) -> None:
        """Write them."""
        sheet = self.query_one("#question", LinesView)
        subject = "Training" if self._step is None else f"Step {self._step}"
        sheet.border_title = Content(f"{subject} is {'running' if self._runs else 'in progress'}")
        now: Line = (("s", "key"), (f"    save and {self._what} now", ""))
        lines: list[Line] = [now, (("Esc", "key"), ("  cancel", ""))]
        if self._step is not None:
            finish: Line = (("f", "key"), (f"    finish the step, save, and {self._what}", ""))
            lines[:1] = [finish, (*now, (" (the step in progress is lost)", ""))]
        show_fitted(sheet, lines)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is no step to finish between two."""
        return not (action == "dismiss" and parameters == ("finish",) and self._step is None)


class ClosingScreen(ModalScreen[None]):
    """Shown while the engine stops and saves; counts down to leaving anyway, where one is to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+q", "app.leave_at_once", "leave at once", id="closing.leave"),
    ]
    DEFAULT_CSS = f"ClosingScreen {{ {SHEET} }}"

    def __init__(self) -> None:
        super().__init__(id="closing")

    def compose(self) -> ComposeResult:
        """One note."""
        yield LinesView(id="note")

    def show(self, seconds_left: float, *, after_step: bool = False, loading: bool = False) -> None:
        """Say what is waited for.

        Args:
            seconds_left: until one leaves anyway; infinite where the engine is waited for, however long it takes.
            after_step: the step is finished first.
            loading: the engine is still loading, and can stop only when it is done with that.
        """
        waits = math.isinf(seconds_left)
        if after_step:
            what = "finishing the step, then saving…"
        elif waits:
            what = (
                "waiting for the engine to load, to stop it…" if loading else "saving, then back to the runs…"
            )
        else:
            what = f"saving…  at most {duration(seconds_left)} more"
        at_once = "  quit at once, without waiting" if waits else "  leave at once"
        for sheet in self.query("#note").results(LinesView):
            show_fitted(sheet, [((what, "bold"),), (("", ""),), (("q", "key"), (at_once, ""))])


def show_fitted(sheet: LinesView, lines: list[Line]) -> None:
    """In a box of their height, where they need not be folded."""
    sheet.set_lines(lines)
    if sheet.app.size.width >= WIDTH:
        sheet.styles.height = len(lines) + FRAME
