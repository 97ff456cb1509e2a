"""The question before a step in progress is left for another."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from grpo_tui.tui.screens.leave import SHEET
from grpo_tui.tui.text import Line
from grpo_tui.tui.widgets.lines import LinesView


class LeaveStepScreen(ModalScreen[bool]):
    """Asks whether to leave the step in progress."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "dismiss(True)", "leave it", id="travel.yes"),
        Binding("escape,n,c,q", "dismiss(False)", "cancel", id="travel.no"),
    ]
    DEFAULT_CSS = f"LeaveStepScreen {{ {SHEET} }}"

    def __init__(self, step: int, num_groups: int, aim: str) -> None:
        super().__init__(id="travel")
        self._step, self._num_groups, self._aim = step, num_groups, aim

    def compose(self) -> ComposeResult:
        """Two choices."""
        yield LinesView(id="question")

    def on_mount(self) -> None:
        """Write them."""
        sheet = self.query_one("#question", LinesView)
        sheet.border_title = Content(f"Step {self._step} is in progress")
        groups = f"{self._num_groups} group" + "s" * (self._num_groups != 1)
        lines: list[Line] = [
            ((f"Its {groups} are left. Taken again from the same state,", ""),),
            (("the step draws the same tokens.", ""),),
            (("", ""),),
            (("Enter", "key"), (f"  leave it, go to {self._aim}, and wait", "")),
            (("Esc", "key"), ("    cancel", "")),
        ]
        sheet.set_lines(lines)
