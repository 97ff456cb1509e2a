"""Welcome: one Enter away from a run. Presets, recent runs, models on this machine, and what each would do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Input

from grpo_tui.config.local_models import LocalModel
from grpo_tui.config.presets import PRESETS
from grpo_tui.config.schema import RunConfig
from grpo_tui.tui.layout import size_class
from grpo_tui.tui.starting import Survey
from grpo_tui.tui.text import clean, clip
from grpo_tui.tui.welcoming import Choice, Row, about, composed, device_line, inspected, opened, rows
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView, list_keys
from grpo_tui.tui.widgets.plain_input import PlainInput

if TYPE_CHECKING:
    from grpo_tui.runs.store import RunSummary

TYPING_SECONDS = 0.25
"""After this long without a key the model that was typed is looked for."""
LOOKING = "looking for it…"
AIRY_ROWS = 14
"""With fewer rows the list has no empty ones, so that the newest run is in sight at 80x24."""
INPUTS = (
    ("model", "Model", "hub id, folder, .gguf"),
    ("data", "Problems", "file or data set name"),
    ("path", "Open", "a run or TRL folder"),
)


class ChoicesView(LinesView):
    """The list; its arrow keys move the selection, and with it what is in sight."""

    BINDINGS: ClassVar[list[BindingType]] = list_keys("move")


class WelcomeScreen(Screen[None]):
    """A list to choose from, what the choice would do, and three lines to type into."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start(True)", "start paused", key_display="Enter", show=True, id="welcome.start"),
        Binding("enter", "resume", "resume", key_display="Enter", show=True, id="welcome.resume"),
        Binding("enter", "take", "take the model", key_display="Enter", show=True, id="welcome.take"),
        Binding("r", "start(False)", "running", key_display="r", show=True, id="welcome.running"),
        Binding("v", "view", "view", key_display="v", show=True, id="welcome.view"),
        Binding("k", "move(-1)", "up", show=False, id="welcome.up"),
        Binding("j", "move(1)", "down", show=False, id="welcome.down"),
        Binding("right,l", "section(1)", "section", key_display="←→", show=True, id="welcome.next_section"),
        Binding("left,h", "section(-1)", "section before", show=False, id="welcome.previous_section"),
        Binding("m", "focus_input('model')", "model", key_display="m", show=True, id="welcome.model"),
        Binding("o", "focus_input('path')", "open", key_display="o", show=True, id="welcome.open"),
        Binding("d", "focus_input('data')", "problems", key_display="d", show=True, id="welcome.data"),
        Binding("escape", "leave_input", "list", show=False, id="welcome.list"),
    ]
    DEFAULT_CSS = """
    WelcomeScreen { layout: vertical; overflow: hidden hidden; }
    WelcomeScreen #title { height: 3; padding: 0 3; overflow: hidden hidden; }
    WelcomeScreen #choices { height: 1fr; border: round $foreground 25%; padding: 0 1; margin: 0 1; }
    WelcomeScreen #choices:focus { border: round $accent; }
    WelcomeScreen #about { height: 6; border: round $foreground 25%; padding: 0 1; margin: 0 1;
        border-title-color: $foreground 80%; border-subtitle-color: $foreground 60%; overflow: hidden hidden; }
    WelcomeScreen #typed { height: 3; margin: 0 1; }
    WelcomeScreen Input { width: 1fr; height: 3; border: round $foreground 25%; background: $background; padding: 0 1;
        border-title-color: $foreground 80%; }
    WelcomeScreen Input:focus { border: round $accent; }
    WelcomeScreen KeyBar { position: relative; }
    WelcomeScreen.-tiny #title, WelcomeScreen.-tiny #about, WelcomeScreen.-tiny #typed { display: none; }
    WelcomeScreen.-tiny.-typing #typed { display: block; }
    WelcomeScreen.-tiny.-typing Input { display: none; }
    WelcomeScreen.-tiny.-typing Input.-wanted { display: block; }
    """
    AUTO_FOCUS = "#choices"

    class Start(Message):
        """Start a run from a config, or go on with an old one."""

        def __init__(self, *, config: RunConfig | None, resume: Path | None, paused: bool) -> None:
            self.config = config
            self.resume = resume
            self.paused = paused
            super().__init__()

    class View(Message):
        """Look at what stands at a path, read-only."""

        def __init__(self, path: Path) -> None:
            self.path = path
            super().__init__()

    class Found(Message, bubble=False):
        """What a thread found out, and what takes it."""

        def __init__(self, then: Callable[[Any], None], result: Any) -> None:
            self.then = then
            self.result = result
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="welcome")
        self._runs: Sequence[RunSummary] | None = None
        self._opened: list[RunSummary] = []
        """Runs whose path was typed and the one that was left, newest first."""
        self._survey: Survey | None = None
        self._rows: list[Row] = []
        self._choice = Choice(preset=next(iter(PRESETS)))
        self._preset = self._choice.preset
        """The preset that a chosen model goes with."""
        self._taken: LocalModel | None = None
        self._known: dict[str, LocalModel | str | None] = {}
        """What is on disk of models by their source."""
        self._trouble = ""
        self._typing: Timer | None = None

    def compose(self) -> ComposeResult:
        """Title, list, what the choice would do, three inputs, keys."""
        yield LinesView(id="title")
        yield ChoicesView(id="choices")
        yield LinesView(id="about")
        with Horizontal(id="typed"):
            for name, title, placeholder in INPUTS:
                made = PlainInput(placeholder=placeholder, id=name)
                made.border_title = Content(title)
                yield made
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Fill in what is known without looking at the disk."""
        self.set_class(size_class(*self.app.size) == "tiny", "-tiny")
        for name in ("title", "about"):
            self.query_one(f"#{name}", LinesView).can_focus = False
        self._fill()

    def on_resize(self) -> None:
        """Cut rows to the new width."""
        self.set_class(size_class(*self.app.size) == "tiny", "-tiny")
        self.call_after_refresh(self._fill)

    def on_screen_resume(self) -> None:
        """Paint what came while another screen was on top."""
        if self.is_mounted:
            self._fill()

    # --- what was found ----------------------------------------------------------------------------------

    def show_runs(self, runs: Sequence[RunSummary]) -> None:
        """Show what was found on disk."""
        self._runs = runs
        self._fill()

    def show_left(self, run: RunSummary) -> None:
        """Put the run that was just left on top, wherever it lies, and the cursor on it if nobody moved that meanwhile."""
        untouched = self._choice.key == Choice(preset=self._preset).key
        self._put_on_top(run)
        if untouched:
            self._choice = Choice(run=run)
        self._fill()

    def _put_on_top(self, run: RunSummary) -> None:
        self._opened = [run, *(other for other in self._opened if other.path != run.path)]

    def show_survey(self, survey: Survey) -> None:
        """Show what the machine has."""
        self._survey = survey
        self._known |= {model.source: model for model in survey.models}
        self._fill()

    def _in_background(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do something that reads files, and take its result on this thread."""
        threading.Thread(target=lambda: self.tell(then, work()), name="welcome", daemon=True).start()

    def tell(self, then: Callable[[Any], None], result: Any) -> None:
        """Have a result taken on the UI thread, if there is still one. May be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.post_message(self.Found(then, result))

    def on_welcome_screen_found(self, message: Found) -> None:
        """Take it."""
        if self.is_mounted:
            message.then(message.result)

    def _look_up(self, source: str) -> LocalModel | str | None:
        """What is known of a model; looked for where nothing is."""
        if source not in self._known:
            self._known[source] = LOOKING
            self._in_background(lambda: inspected(source), lambda found: self._found(source, found))
        return self._known[source]

    def _found(self, source: str, found: LocalModel | str | None) -> None:
        self._known[source] = found
        self._fill()

    # --- painting ----------------------------------------------------------------------------------------

    @property
    def _all_runs(self) -> Sequence[RunSummary] | None:
        if self._runs is None:
            return self._opened or None
        known = {run.path.absolute() for run in self._opened}
        return [*self._opened, *(run for run in self._runs if run.path.absolute() not in known)]

    def _fill(self) -> None:
        view = self.query_one("#choices", LinesView)
        width = max(20, view.scrollable_content_region.width)
        model, _ = self._typed()
        airy = view.scrollable_content_region.height >= AIRY_ROWS
        self._rows = rows(width, self._all_runs, self._survey, model, airy=airy)
        keys = [choice.key if choice is not None else "" for _, choice in self._rows]
        if self._choice.key not in keys:
            self._choice = Choice(preset=self._preset)
        row = keys.index(self._choice.key)
        view.set_lines([line for line, _ in self._rows], row)
        if row == 1:
            view.scroll_to(y=0, animate=False, force=True)
        self._fill_title()
        self._fill_about()
        self.refresh_bindings()

    def _fill_title(self) -> None:
        title = self.query_one("#title", LinesView)
        width = title.scrollable_content_region.width
        title.set_lines(
            [
                (("grpo-tui", "accent bold"), ("   the debugger for reinforcement fine-tuning", "")),
                (("Run, pause, step, look inside: why this reward, why this gradient.", "dim"),),
                device_line(self._survey, width),
            ]
        )

    def _fill_about(self) -> None:
        view = self.query_one("#about", LinesView)
        width = view.scrollable_content_region.width
        if not width:
            return
        config = self._config()
        model = self._choice.model
        known: LocalModel | str | None = None
        if self._choice.run is None:
            if self._survey is None:
                known = "looking at this machine…"
            else:
                known = model if model is not None else self._look_up(config.model.source)
        lines = about(self._choice, config, known, self._survey, width)
        if self._trouble:
            lines = [((clip(clean(self._trouble), width), "bad"),), *lines]
        view.set_lines(lines)
        run = self._choice.run
        what = f"preset {self._preset}"
        if run is not None:
            what = f"run {clean(run.name)}"
        elif model is not None:
            what = f"model {clean(model.source)} with {what}"
        view.border_title = Content(clip(what, max(8, width - 4)))
        hint = "" if run is not None else "fit is estimated here, and measured by 0 in the run"
        view.border_subtitle = Content(clip(hint, max(0, width - 4)))

    # --- choosing ----------------------------------------------------------------------------------------

    def _typed(self) -> tuple[str, str]:
        """Model and problems that take the place of the preset's; empty where they do not."""
        model = self.query_one("#model", Input).value.strip()
        data = self.query_one("#data", Input).value.strip()
        if self._taken is not None and model == clean(self._taken.source).strip():
            model = self._taken.source
        return model, data

    def _config(self) -> RunConfig:
        model, data = self._typed()
        if self._choice.model is not None:
            model = self._choice.model.source
        return composed(self._preset, model, data)

    def _complain(self, line: str) -> None:
        """Say in a line what cannot be done, until something else is chosen or typed."""
        self._trouble = line
        if line and self.has_class("-tiny"):
            self.notify(line, severity="error", markup=False)
        self._fill()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Enter means what the row is; the other keys are there only where they do something."""
        choice = self._choice
        if action == "start":
            return bool(choice.preset)
        if action == "take":
            return choice.model is not None
        if action in ("resume", "view"):
            return choice.run is not None
        return True

    def _select(self, row: int) -> None:
        choice = self._rows[row][1]
        if choice is None:
            return
        self._choice, self._trouble = choice, ""
        self._preset = choice.preset or self._preset
        self._fill()

    def _row(self) -> int:
        return next(
            i for i, (_, choice) in enumerate(self._rows) if choice and choice.key == self._choice.key
        )

    def action_move(self, by: int) -> None:
        """Select another row that can be chosen; past an end, the last there."""
        those = [row for row, (_, choice) in enumerate(self._rows) if choice is not None]
        self._select(those[max(0, min(len(those) - 1, those.index(self._row()) + by))])

    def action_section(self, by: int) -> None:
        """Go to the first row of the next section that has any, round and round."""
        firsts = [
            row
            for row, (_, choice) in enumerate(self._rows)
            if choice is not None and self._rows[row - 1][1] is None
        ]
        here = max(place for place, row in enumerate(firsts) if row <= self._row())
        self._select(firsts[(here + by) % len(firsts)])

    def action_focus_input(self, name: str) -> None:
        """Type a model, a data set or a path."""
        self.add_class("-typing")
        for field in self.query(Input):
            field.set_class(field.id == name, "-wanted")
        self.query_one(f"#{name}", Input).focus()

    def action_leave_input(self) -> None:
        """Back to the list."""
        self.remove_class("-typing")
        self.query_one("#choices").focus()

    def action_start(self, paused: bool) -> None:
        """Start the preset, with the model and problems that were chosen."""
        model, _ = self._typed()
        known = self._known.get(model)
        if model and isinstance(known, str) and known != LOOKING:
            self._complain(known)
            return
        self.post_message(self.Start(config=self._config(), resume=None, paused=paused))

    def action_take(self) -> None:
        """Let the selected model take the place of the presets', or no more; back to the preset."""
        model = self._choice.model
        if model is None:
            return
        again = self._typed()[0] == model.source
        self._taken = None if again else model
        self.query_one("#model", Input).value = "" if again else clean(model.source)
        self._choice, self._trouble = Choice(preset=self._preset), ""
        self._fill()

    def action_resume(self) -> None:
        """Go on with the selected run; one that is being trained elsewhere is viewed."""
        run = self._choice.run
        if run is None:
            return
        if run.problem:
            self._complain(run.problem)
        elif run.running:
            self.action_view()
        else:
            self.post_message(self.Start(config=None, resume=run.path, paused=True))

    def action_view(self) -> None:
        """Look at the selected run, read-only."""
        run = self._choice.run
        if run is not None and run.problem:
            self._complain(run.problem)
        elif run is not None:
            self.post_message(self.View(run.path))

    # --- typing ------------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look for the model once the typing rests."""
        self._trouble = ""
        if event.input.id == "model":
            if self._typing is not None:
                self._typing.stop()
            self._typing = self.set_timer(TYPING_SECONDS, self._fill)
        else:
            self._fill_about()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter: open the path; else back to the list, to choose what the model or the problems go with."""
        event.stop()
        if event.input.id == "path":
            self._open(event.value.strip())
            return
        self._choice = Choice(preset=self._preset)
        self.action_leave_input()
        self._fill()

    def _open(self, text: str) -> None:
        if not text:
            self.action_leave_input()
            return

        def look() -> RunSummary | Path | str:
            try:
                return opened(text)
            except ValueError as error:
                return str(error)

        self._in_background(look, self._show_opened)

    def _show_opened(self, found: RunSummary | Path | str) -> None:
        """A run becomes a row, to be resumed or viewed; completions are viewed at once."""
        if isinstance(found, str):
            self._complain(found)
        elif isinstance(found, Path):
            self.post_message(self.View(found))
        else:
            self._put_on_top(found)
            self._choice, self._trouble = Choice(run=found), found.problem
            self.query_one("#path", Input).value = ""
            self.action_leave_input()
            self._fill()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select a row; a click on the selected one does what Enter does."""
        if message.view.id != "choices" or not 0 <= message.row < len(self._rows):
            return
        choice = self._rows[message.row][1]
        if choice is None:
            return
        if choice.key != self._choice.key:
            self._select(message.row)
        elif choice.run is not None:
            self.action_resume()
        elif choice.model is not None:
            self.action_take()
        else:
            self.action_start(True)
