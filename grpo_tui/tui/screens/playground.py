"""The Playground room: any prompt to the base model, the adapter, and the adapter as it was, side by side."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, TextArea

from grpo_tui.events.commands import Withdraw
from grpo_tui.tui.action import bindings
from grpo_tui.tui.layout import size_class
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.playground import AnswerPanel, PlayBar, SamplesPanel
from grpo_tui.tui.playing import (
    form_of,
    kept_steps,
    next_id,
    pending,
    shown_play,
    waiting,
    why_refused,
)
from grpo_tui.tui.room_actions import PLAY_ACTIONS
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.text import clean
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView
from grpo_tui.tui.widgets.plain_input import PlainInput

COLUMNS = 3
NUMBERS = (("num_samples", "n"), ("temperature", "temp"), ("max_tokens", "tokens"))


class PromptArea(TextArea):
    """Text to edit, any text: what could move the terminal is shown as what it is."""

    def get_line(self, line_index: int) -> Text:
        """One line, made visible; as many characters as it has."""
        return Text(clean(self.document.get_line(line_index)), end="", no_wrap=True)


class PlaygroundScreen(RoomScreen):
    """A form above, answers below. The form is the view's, so it is there again when the room is."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(PLAY_ACTIONS)]
    DEFAULT_CSS = """
    PlaygroundScreen Panel { position: relative; }
    PlaygroundScreen #form { height: 6; }
    PlaygroundScreen #prompt { width: 1fr; height: 6; border: round $foreground 25%; background: $background;
        padding: 0 1; border-title-color: $foreground 80%; }
    PlaygroundScreen #prompt:focus { border: round $accent; }
    PlaygroundScreen #side { width: 36; height: 6; }
    PlaygroundScreen #numbers { height: 3; }
    PlaygroundScreen Input { height: 3; border: round $foreground 25%; background: $background; padding: 0 1;
        border-title-color: $foreground 80%; }
    PlaygroundScreen Input:focus { border: round $accent; }
    PlaygroundScreen #numbers Input { width: 1fr; }
    PlaygroundScreen #bar { height: 2; border: none; padding: 0; }
    PlaygroundScreen #samples { height: 2fr; max-height: 12; min-height: 5; }
    PlaygroundScreen #answers { height: 3fr; }
    PlaygroundScreen AnswerPanel { width: 1fr; height: 100%; }
    PlaygroundScreen.-tiny #side { display: none; }
    PlaygroundScreen.-tiny #form, PlaygroundScreen.-tiny #prompt { height: 3; }
    PlaygroundScreen.-tiny #bar { height: 1; }
    PlaygroundScreen.-tiny #samples { display: none; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="playground")
        self._keys: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """Prompt and settings, sources, samples, answers, keys."""
        form = form_of(self.view)
        with Horizontal(id="form"):
            prompt = PromptArea(
                form.question, id="prompt", soft_wrap=True, show_line_numbers=False, tab_behavior="focus"
            )
            prompt.border_title = Content("Prompt")
            yield prompt
            with Vertical(id="side"):
                yield self._input("answer", form.answer, "gold answer", "empty: not judged")
                with Horizontal(id="numbers"):
                    for name, title in NUMBERS:
                        yield self._input(name, getattr(form, name), title)
        yield PlayBar(id="bar")
        yield SamplesPanel(id="samples")
        with Horizontal(id="answers"):
            for column in range(COLUMNS):
                yield AnswerPanel(column)
        yield KeyBar(id="keys")

    @staticmethod
    def _input(name: str, value: str, title: str, placeholder: str = "") -> Input:
        made = PlainInput(clean(value), id=name, placeholder=placeholder)
        made.border_title = Content(title)
        return made

    def on_mount(self) -> None:
        """Letters are keys until the prompt is edited; an empty form is edited at once."""
        self.set_class(size_class(*self.app.size) == "tiny", "-tiny")
        if form_of(self.view).question or why_refused(self.view):
            self._focus_results()
        else:
            self.query_one("#prompt").focus()
        self.sync_view(force=True)

    def on_resize(self) -> None:
        """Another size, another shape."""
        self.set_class(size_class(*self.app.size) == "tiny", "-tiny")
        self.call_after_refresh(self.sync_view)

    def _focus_results(self) -> None:
        samples = self.query_one("#samples", Panel)
        (samples if samples.display else self.query_one("#answer0")).focus()

    # --- painting ----------------------------------------------------------------------------------------

    def sync_view(self, *, force: bool = False) -> None:
        """Rebuild what is stale, and show as many columns as there are sources."""
        play = shown_play(self.view)
        shown = len(play.started.sources) if play is not None else 0
        for panel in self.query(AnswerPanel):
            panel.display = panel.column < min(shown, 1 if self.has_class("-tiny") else COLUMNS)
        for each in self.query(Panel):
            each.sync(self.view, force=force)
        key = (pending(self.view), len(self.view.state.plays), why_refused(self.view))
        if key != self._keys:
            self._keys = key
            self.refresh_bindings()

    # --- the form ----------------------------------------------------------------------------------------

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Keep what is typed."""
        form_of(self.view).question = event.text_area.text
        self._complain("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keep what is typed."""
        setattr(form_of(self.view), event.input.id or "", event.value)
        self._complain("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field samples."""
        event.stop()
        self.action_play()

    def _complain(self, line: str) -> None:
        self.query_one("#bar", PlayBar).error = line
        self.sync_view()

    # --- keys --------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now; g samples, and stops what was asked for."""
        if action in ("play", "stop_play"):
            return not why_refused(self.view) and (pending(self.view) is None) == (action == "play")
        if action == "move_sample":
            return shown_play(self.view) is not None
        if action == "move_play":
            return len(self.view.state.plays) > 1
        return True

    def action_back(self) -> None:
        """Out of a field first, then out of the room."""
        if isinstance(self.focused, (TextArea, Input)):
            self._focus_results()
        else:
            super().action_back()

    def action_edit(self) -> None:
        """Type the prompt."""
        self.query_one("#prompt").focus()

    def action_toggle_source(self, source: str) -> None:
        """Sample from a source, or not."""
        form = form_of(self.view)
        if source == "base":
            form.with_base = not form.with_base
        else:
            form.with_adapter = not form.with_adapter
        self._complain("")

    def action_next_step(self, by: int) -> None:
        """Go through the kept checkpoints, and none."""
        form, steps = form_of(self.view), kept_steps(self.view)
        choices: list[int | None] = [None, *steps]
        place = choices.index(form.step) if form.step in choices else 0
        form.step = choices[(place + by) % len(choices)]
        self._complain("" if steps else "no checkpoint is kept yet")

    def action_play(self) -> None:
        """Sample what the form asks for."""
        form = form_of(self.view)
        if why_refused(self.view) or pending(self.view) is not None:
            return
        try:
            form.asked = form.request(next_id(self.view))
        except ValueError as error:
            self._complain(str(error))
            return
        form.shown, form.row = None, 0
        self.view.ask(form.asked)
        self._focus_results()
        self._complain("")

    def action_stop_play(self) -> None:
        """Take back what waits or is being sampled."""
        asked = pending(self.view)
        if asked is not None:
            self.view.ask(Withdraw(asked))
            if waiting(self.view) is not None:
                form_of(self.view).asked = None
            self._complain("")

    def action_move_sample(self, by: int) -> None:
        """Select another sample."""
        form, play = form_of(self.view), shown_play(self.view)
        if play is not None:
            form.row = max(0, min(play.started.num_samples - 1, form.row + by))
            self.sync_view()

    def action_move_play(self, by: int) -> None:
        """Look at an earlier play, or a later one."""
        form, plays = form_of(self.view), self.view.state.plays
        play = shown_play(self.view)
        if play is None:
            return
        place = max(0, min(len(plays) - 1, [p is play for p in plays].index(True) + by))
        form.shown = None if place == len(plays) - 1 else plays[place].started.id
        self.sync_view()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select the sample that was clicked."""
        if message.view.id == "samples":
            self.action_move_sample(message.row - SamplesPanel.HEADER - form_of(self.view).row)
