"""Welcome: one Enter away from a run. Presets, recent runs, and a model or data set of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input

from grpo_tui.config.presets import PRESET_DESCRIPTIONS, PRESETS
from grpo_tui.config.schema import RunConfig
from grpo_tui.tui.text import Line, clean, clip, fit, number
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView

if TYPE_CHECKING:
    from grpo_tui.runs.store import RunSummary


@dataclass(frozen=True, slots=True)
class Choice:
    """What Enter would do on a row."""

    preset: str = ""
    run: Path | None = None


class WelcomeScreen(Screen[None]):
    """A list to choose from, and two lines to type into."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose(False)", "start", key_display="Enter", show=True, id="welcome.start"),
        Binding("p", "choose(True)", "start paused", key_display="p", show=True, id="welcome.paused"),
        Binding("up,k", "move(-1)", "up", show=False, id="welcome.up"),
        Binding("down,j", "move(1)", "down", show=False, id="welcome.down"),
        Binding("m", "focus_input('model')", "model", key_display="m", show=True, id="welcome.model"),
        Binding("d", "focus_input('data')", "data", key_display="d", show=True, id="welcome.data"),
        Binding("escape", "leave_input", "list", show=False, id="welcome.list"),
    ]
    DEFAULT_CSS = """
    WelcomeScreen { layout: vertical; }
    WelcomeScreen #title { height: 4; padding: 1 3 0 3; }
    WelcomeScreen #choices { height: 1fr; margin: 0 2; border: round $foreground 25%; padding: 0 1; }
    WelcomeScreen #choices:focus { border: round $accent; }
    WelcomeScreen Input { height: 3; margin: 0 2; border: round $foreground 25%; background: $background;
        border-title-color: $foreground 80%; }
    WelcomeScreen Input:focus { border: round $accent; }
    WelcomeScreen KeyBar { position: relative; }
    """
    AUTO_FOCUS = "#choices"

    class Start(Message):
        """Start a run from a config, or go on with an old one."""

        def __init__(self, *, config: RunConfig | None, resume: Path | None, paused: bool) -> None:
            self.config = config
            self.resume = resume
            self.paused = paused
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="welcome")
        self._runs: Sequence[RunSummary] | None = None
        self._rows: list[tuple[Line, Choice | None]] = []
        self._row = 1

    def compose(self) -> ComposeResult:
        """Title, list, two inputs, keys."""
        yield LinesView(id="title")
        yield LinesView(id="choices")
        model = Input(placeholder="hub id, folder or .gguf file; empty: the preset's own", id="model")
        model.border_title = Content("Model")
        data = Input(
            placeholder=".jsonl or .parquet file, or data set name; empty: the preset's own", id="data"
        )
        data.border_title = Content("Problems")
        yield model
        yield data
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Fill in what is known without looking at the disk."""
        title = self.query_one("#title", LinesView)
        title.can_focus = False
        title.set_lines(
            [
                (("grpo-tui", "accent bold"), ("   the debugger for reinforcement fine-tuning", "")),
                (("Run, pause, step, look inside: why this reward, why this gradient.", "dim"),),
            ]
        )

    def on_resize(self) -> None:
        """Cut rows to the new width."""
        self.call_after_refresh(self._fill)

    def show_runs(self, runs: Sequence[RunSummary]) -> None:
        """Show what was found on disk."""
        self._runs = runs
        self._fill()

    def _fill(self) -> None:
        view = self.query_one("#choices", LinesView)
        width = max(20, view.scrollable_content_region.width)
        rows: list[tuple[Line, Choice | None]] = [((("New run", "accent bold"),), None)]
        for name in PRESETS:
            text = clip(PRESET_DESCRIPTIONS.get(name, ""), width - 18)
            rows.append((((f"  {fit(name, 14)}", "bold"), (text, "")), Choice(preset=name)))
        rows += [((("", ""),), None), ((("Recent runs", "accent bold"),), None)]
        if self._runs is None:
            rows.append(((("  looking…", "dim"),), None))
        elif not self._runs:
            rows.append(((("  none yet", "dim"),), None))
        for run in self._runs or ():
            rows.append((_run_line(run, width), Choice(run=run.path)))
        self._rows = rows
        self._row = min(self._row, len(rows) - 1)
        view.set_lines([line for line, _ in rows], self._row)
        choice = rows[self._row][1]
        about = _about(PRESETS[choice.preset]()) if choice is not None and choice.preset else ""
        view.border_subtitle = Content(about)

    def action_move(self, by: int) -> None:
        """Select another row that can be chosen."""
        row = self._row + by
        while 0 <= row < len(self._rows) and self._rows[row][1] is None:
            row += by
        if 0 <= row < len(self._rows):
            self._row = row
            self._fill()

    def action_focus_input(self, name: str) -> None:
        """Type a model or data set."""
        self.query_one(f"#{name}", Input).focus()

    def action_leave_input(self) -> None:
        """Back to the list."""
        self.query_one("#choices").focus()

    def action_choose(self, paused: bool) -> None:
        """Start what is selected."""
        choice = self._rows[self._row][1] if self._rows else Choice(preset="tiny")
        if choice is None:
            return
        if choice.run is not None:
            self.post_message(self.Start(config=None, resume=choice.run, paused=True))
            return
        config = self._with_inputs(PRESETS[choice.preset]())
        self.post_message(self.Start(config=config, resume=None, paused=paused or choice.preset != "tiny"))

    def _with_inputs(self, config: RunConfig) -> RunConfig:
        model = self.query_one("#model", Input).value.strip()
        data = self.query_one("#data", Input).value.strip()
        if model:
            config = replace(config, model=replace(config.model, source=model))
        if data:
            config = replace(config, data=replace(config.data, source=data))
        return config

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a line starts the run, paused."""
        event.stop()
        self.action_choose(True)

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select a row; a click on the selected one starts it."""
        if message.view.id != "choices" or not 0 <= message.row < len(self._rows):
            return
        if self._rows[message.row][1] is not None:
            again = self._row == message.row
            self._row = message.row
            self._fill()
            if again:
                self.action_choose(False)


def _about(config: RunConfig) -> str:
    """What a preset would do, in one line."""
    sampling = config.sampling
    return (
        f"{config.model.source} · {sampling.prompts_per_step} prompts × {sampling.group_size} responses a step · "
        f"{config.run.steps} steps · lr {config.optim.lr:g} · beta {config.algorithm.beta:g}"
    )


def _run_line(run: RunSummary, width: int) -> Line:
    if run.problem:
        return ((f"  {fit(clean(run.name), 28)}", "dim"), (clip(clean(run.problem), width - 30), "bad"))
    steps = f"step {run.finished_steps}/{run.total_steps}"
    reward = f"reward {number(run.last_reward, 3)}" if run.last_reward is not None else ""
    state = "running now" if run.running else "done" if run.finished_steps >= run.total_steps else ""
    text = clip(f"{fit(steps, 15)} {fit(reward, 14)} {state}", max(0, width - 30))
    return ((f"  {fit(clean(run.name), 28)}", "bold"), (text, ""))
