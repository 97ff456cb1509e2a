"""The Tune room: every setting, and changing it while the run runs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input

from grpo_tui.config.emit import to_toml
from grpo_tui.events.commands import ChangeSettings, Request, UndoSettings
from grpo_tui.events.settings import last_undoable
from grpo_tui.events.types import SettingsChanged
from grpo_tui.tui.action import bindings
from grpo_tui.tui.asking import listed, waiting_text
from grpo_tui.tui.knobs import Knob, began_with, knobs, new_warnings
from grpo_tui.tui.panels.knobs import about, counted, draft_lines, header, rows
from grpo_tui.tui.room_actions import TUNE_ACTIONS
from grpo_tui.tui.run_settings import settings_of
from grpo_tui.tui.screens.tune_edit import Editing, Editor
from grpo_tui.tui.text import Line, clean, wrapped
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView

CONFIG_NOW = "config-now.toml"
SHORT, LOW = 20, 30
"""Rows below which the room keeps to table and draft, and below which it says less of the selected setting."""


class KnobTable(LinesView):
    """The table. Its cursor belongs to the room."""

    TITLE: ClassVar[str] = "Tune"
    HELP: ClassVar[str] = (
        "Every setting of the run. Change some, look at them together, apply: the state is saved first, the change is "
        "recorded and marked on the curves, and u takes it back. A locked one says why it is."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "screen.move(-1)", show=False, id="tune.up"),
        Binding("down,j", "screen.move(1)", show=False, id="tune.down"),
        Binding("pageup", "screen.move(-10)", show=False, id="tune.page_up"),
        Binding("pagedown", "screen.move(10)", show=False, id="tune.page_down"),
        Binding("home", "screen.move(-1000)", show=False, id="tune.first"),
        Binding("end", "screen.move(1000)", show=False, id="tune.last"),
    ]


class TuneScreen(Editing):
    """A table of knobs, what is known of the selected one, and the changes collected."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(TUNE_ACTIONS),
        Binding("5", "back", show=False, id="tune.back"),
    ]
    DEFAULT_CSS = """
    TuneScreen { layers: base above; }
    TuneScreen #filter { height: 1; border: none; padding: 0 1; background: $panel; display: none; }
    TuneScreen #head { height: 1; padding: 0 2; background: $background; }
    TuneScreen #knobs { height: 1fr; border: round $foreground 25%; padding: 0 1; background: $background; }
    TuneScreen #knobs:focus { border: round $accent; background-tint: transparent 0%; }
    TuneScreen #about, TuneScreen #draft {
        height: auto; border: round $foreground 25%; padding: 0 1; background: $background;
        overflow: hidden hidden;
    }
    TuneScreen #about { height: 6; }
    TuneScreen #draft { height: 5; }
    TuneScreen.-low #about { height: 5; }
    TuneScreen.-short #about { display: none; }
    TuneScreen.-short #draft { height: 2; border: none; }
    TuneScreen Editor {
        layer: above; position: absolute; height: 1; border: none; padding: 0; background: $primary 40%; display: none;
    }
    TuneScreen #complaint {
        layer: above; position: absolute; height: 1; background: $panel; display: none; overflow: hidden hidden;
    }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="tune")
        self.begin_editing()
        self._selected = ""
        self._query = ""
        self._key: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """Filter, table, facts, draft, keys; the line to type in lies above them."""
        yield Input(placeholder="words of a name, its help, or: locked, live, changed, drafted", id="filter")
        yield LinesView(id="head")
        yield KnobTable(id="knobs")
        yield LinesView(id="about")
        yield LinesView(id="draft")
        yield KeyBar(id="keys")
        yield Editor(id="edit", compact=True)
        yield LinesView(id="complaint")

    def on_mount(self) -> None:
        """Begin at the learning rate."""
        for name in ("head", "about", "draft", "complaint"):
            self.query_one(f"#{name}", LinesView).can_focus = False
        self._selected = "optim.lr"
        self.query_one("#knobs").focus()

    def on_resize(self, event: events.Resize) -> None:
        """Lay out anew; a line being typed keeps its text and its place."""
        self.set_class(event.size.height < SHORT, "-short")
        self.set_class(event.size.height < LOW, "-low")
        self._key = ()
        self.call_after_refresh(self._resized)

    def _resized(self) -> None:
        self.sync_view(force=True)
        if self.editing:
            self.place_editor()

    # --- what is shown -----------------------------------------------------------------------------------

    @property
    def knob(self) -> Knob | None:
        """The selected setting."""
        return next((row.knob for row in self.rows if row.knob and row.knob.key == self._selected), None)

    def sync_view(self, *, force: bool = False) -> None:
        """Show what became of the settings, the draft and the engine."""
        view, state = self.view, self.view.state
        self.asking.look()
        now = settings_of(state)
        key = (
            now,
            state.settings_changes,
            tuple(view.draft.edits.items()),
            (self._selected, self._query, self.asked, self.asking.told, self.asking.waits),
            (state.mode, state.mode_detail, state.phase, self.can_change),
        )
        if key == self._key and not force:
            return
        self._key = key
        wanted = view.draft.over(now)
        found = [k for k in knobs(now, wanted, state.settings_changes) if k.found_by(self._query)]
        table = self.query_one("#knobs", KnobTable)
        width = table.scrollable_content_region.width
        self.rows = rows(found, width)
        keys = [row.knob.key if row.knob else "" for row in self.rows]
        if self._selected not in keys:
            self._selected = next((key for key in keys if key), "")
        cursor = keys.index(self._selected) if self._selected else None
        table.set_lines([row.line for row in self.rows] or [(("no setting has these words", "dim"),)], cursor)
        live = sum(not knob.locked for knob in found)
        table.border_title = Content(f"Tune  {len(found)} settings, {live} can change" + self._standing())
        table.border_subtitle = Content(f"filter: {clean(self._query)}" if self._query else "")
        self.query_one("#head", LinesView).set_lines([header(width)])
        self._show_about()
        self._show_draft()
        self.refresh_bindings()

    def _standing(self) -> str:
        if self.view.session.read_only:
            return "  (recorded run: to look at)"
        return "  (the run is over)" if self.view.over else ""

    def _show_about(self) -> None:
        sheet = self.query_one("#about", LinesView)
        knob = self.knob
        sheet.border_title = Content("Setting")
        width = sheet.scrollable_content_region.width
        changes = self.view.state.settings_changes
        sheet.set_lines(about(knob, settings_of(self.view.state), changes, width) if knob else [])

    def _show_draft(self) -> None:
        sheet = self.query_one("#draft", LinesView)
        sheet.border_title = Content("Changes")
        width, height = sheet.scrollable_content_region.size
        lines = self._draft_lines(width)
        if len(lines) > height > 0:
            lines = [*lines[: height - 1], ((*lines[height - 1][:1], (" …", "dim")))]
        sheet.set_lines(lines)

    def _draft_lines(self, width: int) -> list[Line]:
        """What is waited for, asked, collected or was told, the most urgent of them."""
        now, told = settings_of(self.view.state), self.asking.told
        if self.asking.waits:
            return [((waiting_text(self.view.state), "accent bold"),)]
        last = last_undoable(self.view.state.settings_changes)
        if self.asked == "undo" and last is not None:
            question = f"Take back {counted(len(last.changes))} of step {last.step}?  u does it, Esc does not"
            return [((question, "warn bold"),), *wrapped(listed(last, back=True), width)]
        diff = self.view.draft.diff(now)
        lines = draft_lines(diff, new_warnings(now, self.view.draft.over(now)), width) if diff else []
        if diff and self.asked == "apply":
            lines.insert(0, ((f"Apply {counted(len(diff))}?  a does it, Esc does not", "warn bold"),))
        elif told:
            lines.insert(0, told)
        return lines or [((self._hint(last), "dim"),)]

    def _hint(self, last: SettingsChanged | None) -> str:
        if not self.can_change:
            return "the settings that this run had; nothing can be changed here"
        if last is None:
            return "nothing collected; Enter changes the selected setting"
        return f"nothing collected; u takes back, from step {last.step}: {listed(last)}"

    # --- moving and finding ------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Offer only what can be done now."""
        if action == "edit":
            return self.can_change and self.knob is not None and not self.knob.locked
        if action == "apply":
            return self.can_change and bool(self.view.draft.edits)
        if action == "drop":
            return self.can_change and self._selected in self.view.draft.edits
        if action in ("undo", "reset"):
            return self.can_change and last_undoable(self.view.state.settings_changes) is not None
        if action == "filter":
            return not self.editing
        if action == "save":
            return self.view.state.run is not None
        return True

    def action_move(self, by: int) -> None:
        """Select another setting."""
        keys = [row.knob.key for row in self.rows if row.knob]
        if keys:
            at = keys.index(self._selected) if self._selected in keys else 0
            self._selected = keys[max(0, min(len(keys) - 1, at + by))]
            self.settle()

    def search(self, query: str) -> None:
        """Show the settings that have these words."""
        self._query = query
        self.settle()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select what was clicked; edit it where it was selected."""
        if message.view.id != "knobs" or not 0 <= message.row < len(self.rows):
            return
        knob = self.rows[message.row].knob
        if knob is None:
            return
        if knob.key == self._selected:
            self.action_edit()
        else:
            self._selected = knob.key
            self.settle()

    def action_filter(self) -> None:
        """Type words that the settings shown must have."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    def action_back(self) -> None:
        """Out of the line, the question, the filter, and then the room."""
        line = self.query_one("#filter", Input)
        if self.editing:
            self.end_edit()
        elif self.asked:
            self.settle()
        elif line.display:
            line.value = self._query = ""
            line.display = False
            self.query_one("#knobs").focus()
            self.settle()
        else:
            super().action_back()

    # --- asking the engine -------------------------------------------------------------------------------

    def action_drop(self) -> None:
        """Forget the collected change of the selected setting."""
        self.asking.told = ()
        self.view.draft.drop(self._selected)
        self.settle()

    def action_reset(self) -> None:
        """Collect the way back to where the run began."""
        now = settings_of(self.view.state)
        self.view.draft.replace(now, began_with(now, self.view.state.settings_changes))
        self.settle()

    def action_apply(self) -> None:
        """Ask, then do it."""
        diff = self.view.draft.diff(settings_of(self.view.state))
        if diff and self._really("apply"):
            self._send(ChangeSettings(tuple((key, new) for key, _, new in diff)))

    def action_undo(self) -> None:
        """Ask, then do it."""
        if self._really("undo"):
            self._send(UndoSettings())

    def _really(self, what: str) -> bool:
        """Whether the question was asked already; else ask it."""
        if self.asking.waits:
            return False
        again, self.asked = self.asked == what, what
        self.sync_view()
        return again

    def _send(self, request: Request) -> None:
        self.asking.send(request)
        self.settle()

    def action_save(self) -> None:
        """Write the settings as they are now, ready to start another run with."""
        run = self.view.state.run
        if run is None:
            return
        path = Path(run.run_dir) / CONFIG_NOW
        try:
            path.write_text(to_toml(settings_of(self.view.state)), encoding="utf-8")
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", title="not written", severity="error", markup=False)
        else:
            self.notify(f"{path}", title="settings written", markup=False)
