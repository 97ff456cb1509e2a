"""A question over a room: one of some choices, some lines to fill in, Enter sends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from grpo_tui.tui.text import Line, clean, fit, wrapped
from grpo_tui.tui.widgets.lines import LinesView
from grpo_tui.tui.widgets.plain_input import PlainInput

WIDTH = 66


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several; ``key`` picks it, ``value`` is what is answered."""

    value: str
    label: str
    key: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Blank:
    """A line to fill in."""

    name: str
    title: str
    value: str = ""
    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was chosen and filled in."""

    choice: str = ""
    blanks: Mapping[str, str] = field(default_factory=dict)


class ChoicesView(LinesView):
    """The choices; arrows, j/k or a choice's own key select one."""

    def on_key(self, event: events.Key) -> None:
        """Select by key."""
        screen = self.screen
        if not isinstance(screen, AskScreen):
            return
        by = {"up": -1, "k": -1, "down": 1, "j": 1}.get(event.key)
        if by is not None:
            screen.move_choice(by)
        elif not screen.pick(event.character or ""):
            return
        event.stop()
        event.prevent_default()


class Said(LinesView, can_focus=False):
    """Lines that are only read."""


class AskScreen(ModalScreen[Answer | None]):
    """Answers with an :class:`Answer` that ``check`` has nothing against, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "send", id="ask.send"),
        Binding("escape", "dismiss(None)", "cancel", id="ask.cancel"),
    ]
    DEFAULT_CSS = f"""
    AskScreen {{ align: center middle; }}
    AskScreen #sheet {{ width: {WIDTH}; max-width: 100%; height: auto; max-height: 100%; border: round $accent;
        background: $surface; padding: 0 1; scrollbar-size: 1 1; }}
    AskScreen LinesView {{ background: $surface; }}
    AskScreen Input {{ height: 3; border: round $foreground 25%; background: $surface; padding: 0 1;
        border-title-color: $foreground 80%; }}
    AskScreen Input:focus {{ border: round $accent; }}
    """

    def __init__(
        self,
        title: str,
        about: str,
        *,
        choices: Sequence[Choice] = (),
        chosen: int = 0,
        blanks: Sequence[Blank] = (),
        check: Callable[[Answer], str] = lambda _answer: "",
    ) -> None:
        super().__init__(id="ask")
        self._title, self._about = title, about
        self._choices, self.chosen = tuple(choices), chosen
        self._blanks, self._check = tuple(blanks), check
        self.complaint = ""

    def compose(self) -> ComposeResult:
        """What it is about, choices, blanks, complaint."""
        with VerticalScroll(id="sheet", can_focus=False) as sheet:
            sheet.border_title = Content(clean(self._title))
            sheet.border_subtitle = Content("Enter sends · Tab next · Esc cancels")
            yield Said(id="about")
            if self._choices:
                yield ChoicesView(id="choices")
            for blank in self._blanks:
                made = PlainInput(
                    clean(blank.value), id=blank.name, placeholder=blank.placeholder, select_on_focus=True
                )
                made.border_title = Content(blank.title)
                yield made
            yield Said(id="complaint")

    def on_mount(self) -> None:
        """Write it."""
        width = max(10, min(WIDTH, self.app.size.width) - 5)
        about = self.query_one("#about", LinesView)
        lines = wrapped(self._about, width, "dim")[:4]
        about.styles.height = len(lines)
        about.set_lines(lines)
        self.query_one("#complaint").styles.height = 1
        if self._choices:
            self.query_one("#choices").styles.height = len(self._choices)
        self._show()

    def _show(self) -> None:
        for view in self.query("#choices").results(LinesView):
            lines: list[Line] = []
            for row, choice in enumerate(self._choices):
                mark = "▸ " if row == self.chosen else "  "
                key = fit(choice.key, 2) if any(c.key for c in self._choices) else ""
                lines.append(((mark, "accent bold"), (key, "key"), (clean(choice.label), choice.role)))
            view.set_lines(lines, self.chosen)
        self.query_one("#complaint", LinesView).set_lines([((clean(self.complaint), "bad"),)])

    # --- keys ----------------------------------------------------------------------------------------------

    def move_choice(self, by: int) -> None:
        """Select another."""
        self.chosen = max(0, min(len(self._choices) - 1, self.chosen + by))
        self._show()

    def pick(self, key: str) -> bool:
        """Select the choice of a key; False where none has it."""
        for row, choice in enumerate(self._choices):
            if key and choice.key == key:
                self.chosen = row
                self._show()
                return True
        return False

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select what was clicked."""
        if message.view.id == "choices" and message.row < len(self._choices):
            self.chosen = message.row
            self._show()

    def on_input_changed(self, _event: Input.Changed) -> None:
        """What was wrong may be right now."""
        if self.complaint:
            self.complaint = ""
            self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a line sends all."""
        event.stop()
        self.action_send()

    def action_send(self) -> None:
        """Answer, or say what is wrong."""
        blanks = {blank.name: self.query_one(f"#{blank.name}", Input).value for blank in self._blanks}
        answer = Answer(self._choices[self.chosen].value if self._choices else "", blanks)
        self.complaint = self._check(answer)
        if self.complaint:
            self._show()
        else:
            self.dismiss(answer)
