"""A prompt to pin, typed: question, gold answer, and how often it is read."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from grpo_tui.events.commands import PinProbe
from grpo_tui.tui.widgets.plain_input import PlainInput

FIELDS = (
    ("question", "prompt"),
    ("answer", "gold answer (empty: not judged)"),
    ("every", "read every … steps"),
)


class PinScreen(ModalScreen[PinProbe | None]):
    """Answers with what to pin, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "cancel", id="pin.cancel"),
    ]
    DEFAULT_CSS = """
    PinScreen { align: center middle; }
    PinScreen #box { width: 76; max-width: 100%; height: 11; max-height: 100%; border: round $accent; padding: 0 1;
        background: $surface; }
    PinScreen Input { height: 3; border: round $foreground 25%; background: $surface; padding: 0 1; }
    PinScreen Input:focus { border: round $accent; }
    """

    def __init__(self) -> None:
        super().__init__(id="pin")

    def compose(self) -> ComposeResult:
        """Three fields."""
        with Vertical(id="box") as box:
            box.border_title = Content("Pin a prompt")
            box.border_subtitle = Content("Enter pins, Tab next field, Esc cancels")
            for name, title in FIELDS:
                field = PlainInput("1" if name == "every" else "", id=f"pin-{name}")
                field.border_title = Content(title)
                yield field

    def on_mount(self) -> None:
        """Begin with the prompt."""
        self.query_one("#pin-question").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Pin what was typed; what cannot be used is said in the frame."""
        event.stop()
        question, answer, every = (self.query_one(f"#pin-{name}", Input).value.strip() for name, _ in FIELDS)
        if not question:
            self._complain("the prompt is empty")
        elif not every.isascii() or not every.isdigit() or not 1 <= int(every[:9]) <= 100_000:
            self._complain("read every … steps: a whole number from 1")
        else:
            self.dismiss(PinProbe(question=question, answer=answer, every=int(every)))

    def _complain(self, line: str) -> None:
        self.query_one("#box").border_subtitle = Content(line)
