"""The History room: every step of the run in one list, and everything that can be asked of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from grpo_tui.events.records import StepMetrics
from grpo_tui.runs.bookmarks import Bookmarks
from grpo_tui.runs.lines import Branch, Visit
from grpo_tui.runs.query import QueryError, parse
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.search import SearchHit
from grpo_tui.tui.action import bindings
from grpo_tui.tui.actions import TIME_ACTIONS
from grpo_tui.tui.finder import Finder, Found
from grpo_tui.tui.panels.history import (
    LEGEND,
    Columns,
    Scale,
    branch_rows,
    head_row,
    hit_row,
    marks_of,
    step_row,
    visit_rows,
)
from grpo_tui.tui.panels.status import Banner
from grpo_tui.tui.recorded_session import RecordedSession
from grpo_tui.tui.rooms import ROOMS
from grpo_tui.tui.screens.looking import Looking
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.text import Line, clean
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView, list_keys
from grpo_tui.tui.widgets.many_lines import ManyLinesView

MOST_HITS = 500
WIDE = 150
"""From here on what was found stands beside the steps, not below them."""
PROMPTS = {
    "filter": ("Filter", 'reward<1 & len>150 & verdict=unparsed & prompt~"fraction"'),
    "search": ("Search", "words in prompts, gold answers and responses"),
    "note": ("Note", "why this step is worth coming back to"),
}
Item = SearchHit | Visit | Branch


class StepsView(ManyLinesView):
    """The list of steps: its keys move the cursor shared by all rooms."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *list_keys("move_step"),
        Binding("j", "screen.move_step(1)", show=False, id="history.down"),
        Binding("k", "screen.move_step(-1)", show=False, id="history.up"),
    ]


class FoundView(LinesView):
    """What was found."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *list_keys("move_found"),
        Binding("j", "screen.move_found(1)", show=False, id="found.down"),
        Binding("k", "screen.move_found(-1)", show=False, id="found.up"),
    ]


@dataclass(frozen=True, slots=True)
class Results:
    """One answer to a question, or the wait for it."""

    title: str
    items: tuple[Item, ...] = ()
    note: str = ""
    """What is said where there are no rows."""
    cursor: int = 0


class HistoryScreen(Looking, RoomScreen):
    """Steps, and below them what was looked for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(TIME_ACTIONS),
        Binding("enter", "open", "open", key_display="Enter", id="history.open", tooltip="Go there."),
        Binding("left_curly_bracket", "move_step(-10)", "10 back", key_display="{", show=False, id="history.earlier",
                tooltip="Look at the step ten before."),
        Binding("right_curly_bracket", "move_step(10)", "10 on", key_display="}", show=False, id="history.later",
                tooltip="Look at the step ten after."),
        Binding("slash", "line('search')", "find", key_display="/", id="history.search",
                tooltip="Search prompts, gold answers and responses of all steps."),
        Binding("f", "line('filter')", "filter", id="history.filter",
                tooltip='List the responses for which a filter holds: reward<1 & len>150 & prompt~"fraction".'),
        Binding("m", "bookmark", "bookmark", id="history.bookmark", tooltip="Set or take away a bookmark."),
        Binding("M,shift+m", "line('note')", "note", key_display="M", show=False, id="history.note",
                tooltip="Set a bookmark with a note."),
        Binding("t", "timeline", "same prompt", id="history.timeline",
                tooltip="How the answers to the selected group's prompt changed over the steps."),
        Binding("b", "branches", "branches", id="history.branches",
                tooltip="The lines of steps the run has taken; in a recording, Enter shows one."),
        Binding("tab", "other_list", "", show=False, id="history.tab"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    HistoryScreen Banner { position: relative; height: 1; border: none; padding: 0; }
    HistoryScreen #body { height: 1fr; layout: vertical; }
    HistoryScreen #past { height: 1fr; }
    HistoryScreen #head { height: 1; padding: 0 2; overflow: hidden hidden; }
    HistoryScreen .list { border: round $foreground 25%; padding: 0 1; background: $background; height: 1fr; }
    HistoryScreen .list:focus { border: round $accent; }
    HistoryScreen #found { display: none; height: 45%; min-height: 4; }
    HistoryScreen.-found #found { display: block; }
    HistoryScreen.-found.-short #past { display: none; }
    HistoryScreen.-found.-short #found { height: 1fr; }
    HistoryScreen.-wide #body { layout: horizontal; }
    HistoryScreen.-wide #past { width: 90; }
    HistoryScreen.-wide #found { height: 1fr; width: 1fr; }
    HistoryScreen #problem { height: 1; display: none; padding: 0 2; overflow: hidden hidden; }
    HistoryScreen #line { height: 3; display: none; border: round $accent; padding: 0 1; }
    """

    class Arrived(Message):
        """The finder's thread has an answer."""

        def __init__(self, found: Found) -> None:
            self.found = found
            super().__init__()

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="history")
        self._history: tuple[StepMetrics, ...] = ()
        self._scale = Scale(0.0, 1.0)
        self._marks: dict[int, str] = {}
        self._marks_key: tuple[object, ...] = ()
        self._version = 0
        self._finder: Finder | None = None
        self._bookmarks = Bookmarks(None)
        self._results: Results | None = None
        self._asked = 0
        self._title = ""
        self._asking = ""
        self._typed = {"filter": "", "search": "", "note": ""}
        self._nothing = "nothing"

    def compose(self) -> ComposeResult:
        """The list, the second list, a line to type in, the keys."""
        yield Banner(id="banner", classes="-bare -fixed")
        with Container(id="body"):
            with Vertical(id="past"):
                yield LinesView(id="head")
                yield StepsView(id="steps", classes="list")
            yield FoundView(id="found", classes="list")
        yield LinesView(id="problem")
        yield Input(id="line")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Read the bookmarks, and get ready to ask."""
        folder: Path | None = getattr(self.app, "run_dir", None)
        self._bookmarks = Bookmarks(getattr(self.view.session, "bookmarks_dir", folder))
        try:
            self._bookmarks.load()
        except RunFileError as error:
            self._complain(str(error))
        if folder is not None:
            self._finder = Finder(folder, lambda found: self.post_message(self.Arrived(found)))
        for name in ("head", "problem"):
            self.query_one(f"#{name}", LinesView).can_focus = False
        self._steps.focus()

    def on_unmount(self) -> None:
        """Ask no more."""
        if self._finder is not None:
            self._finder.close()

    # --- painting -----------------------------------------------------------------------------------------

    @property
    def _steps(self) -> StepsView:
        return self.query_one("#steps", StepsView)

    @property
    def _list(self) -> FoundView:
        return self.query_one("#found", FoundView)

    @property
    def _line(self) -> Input:
        return self.query_one("#line", Input)

    def on_resize(self) -> None:
        """Choose the columns anew."""
        width, height = self.app.size
        self.set_class(width >= WIDE, "-wide")
        self.set_class(height < 20 and width < WIDE, "-short")
        self.call_after_refresh(self.sync_view, force=True)

    def sync_view(self, *, force: bool = False) -> None:
        """Bring the lists up to date."""
        view, state = self.view, self.view.state
        banner = self.query_one(Banner)
        banner.display = not view.is_live
        banner.sync(view)
        old, new = self._history, state.history
        if old and (len(new) < len(old) or new[len(old) - 1] is not old[-1]):  # not the same line of steps
            self._version += 1
        if new is not old:
            scale = Scale.of(new)
            self._version += scale != self._scale
            self._history, self._scale = new, scale
        marks_key = (state.evals, state.checkpoints, state.settings_changes, state.log, self._bookmarks.notes)
        if len(self._marks_key) != len(marks_key) or any(
            a is not b for a, b in zip(marks_key, self._marks_key, strict=True)
        ):
            self._marks_key = marks_key
            marks = marks_of(state, self._bookmarks.notes)
            self._version += marks != self._marks
            self._marks = marks
        self._show_steps()
        if force:
            self._steps.reveal_cursor()
            self._show_results()

    def _show_steps(self) -> None:
        steps = self._steps
        width = steps.scrollable_content_region.width
        columns = Columns.for_width(width)
        self.query_one("#head", LinesView).set_lines([head_row(columns, self._scale)])
        history, marks, scale, groups = self._history, self._marks, self._scale, self.view.groups_per_step
        imported = self.view.imported

        def make(row: int) -> Line:
            metrics = history[row]
            return step_row(metrics, columns, scale, marks.get(metrics.step, ""), groups, imported)

        version = (self._version, width, groups, imported)
        steps.set_rows(len(history), make, version, self._row())
        count = f"{len(history)} steps" if len(history) != 1 else "1 step"
        steps.border_title = Content(f"History  {count}" if history else "History  no step is finished yet")
        steps.border_subtitle = Content(LEGEND if width >= 70 else "")

    def _row(self) -> int | None:
        if not self._history:
            return None
        step = self.view.cursor.step
        if step is None:
            return len(self._history) - 1
        return self.view.place_of(step)

    def _show_results(self) -> None:
        results = self._results
        self.set_class(results is not None, "-found")
        if results is None:
            return
        found = self._list
        width = found.scrollable_content_region.width
        lines = self._lines_of(results.items, width)
        found.set_lines(lines or [((results.note, "dim"),)], results.cursor if lines else None)
        found.border_title = Content(clean(results.title))
        found.border_subtitle = Content("Enter goes there · Esc closes" if lines else "Esc closes")

    def _lines_of(self, items: Sequence[Item], width: int) -> list[Line]:
        hits = [item for item in items if isinstance(item, SearchHit)]
        visits = [item for item in items if isinstance(item, Visit)]
        branches = [item for item in items if isinstance(item, Branch)]
        return [
            *(hit_row(hit, width) for hit in hits),
            *visit_rows(visits, width),
            *branch_rows(branches, self._branch, width),
        ]

    # --- asking -------------------------------------------------------------------------------------------

    @property
    def _branch(self) -> int | None:
        session = self.view.session
        return session.branch if isinstance(session, RecordedSession) else None

    def _ask(self, title: str, nothing: str, question: Callable[[RunReader], object]) -> None:
        if self._finder is None:
            self._complain("this run has no file yet: there is nothing to look in")
            return
        self._complain("")
        self._title, self._nothing = title, nothing
        self._asked = self._finder.ask(question, self._branch)
        self._results = Results(title, note="looking…")
        self._show_results()

    def on_history_screen_arrived(self, message: Arrived) -> None:
        """Show an answer, unless something else has been asked since."""
        found = message.found
        if found.number != self._asked or self._results is None:
            return
        if found.error:
            self._results = Results(self._title, note=found.error)
        else:
            items = tuple(found.answer) if isinstance(found.answer, tuple) else ()
            many = (
                f"the newest {len(items)}, there may be more" if len(items) >= MOST_HITS else f"{len(items)}"
            )
            self._results = Results(f"{self._title}  {many}", items, note=self._nothing)
        # Shown first: the list has no width, and takes no focus, before.
        self.set_class(True, "-found")
        self.call_after_refresh(self._settle_results, bool(self._results.items))

    def _settle_results(self, take_focus: bool) -> None:
        self._show_results()
        if take_focus and not self._asking:
            self._list.focus()

    def action_line(self, what: str) -> None:
        """Open the line to type a filter, a search or a note in."""
        self._asking = what
        title, example = PROMPTS[what]
        line = self._line
        line.border_title = Content(title)
        line.placeholder = example
        line.value = self._typed[what] if what != "note" else self._note_here()
        line.display = True
        line.focus()

    def _note_here(self) -> str:
        row = self._row()
        return self._bookmarks.notes.get(self._history[row].step, "") if row is not None else ""

    @on(Input.Changed, "#line")
    def check_line(self, event: Input.Changed) -> None:
        """Say early what is wrong with a filter, but not that it is unfinished."""
        if self._asking != "filter":
            return
        problem = ""
        try:
            parse(event.value, self._components())
        except QueryError as error:
            if error.column < len(event.value.rstrip()):
                problem = str(error)
        self._complain(problem)

    @on(Input.Submitted, "#line")
    def take_line(self, event: Input.Submitted) -> None:
        """Ask what was typed."""
        text, what = event.value.strip(), self._asking
        if what == "note":
            self._close_line()
            self._bookmark(lambda step: self._bookmarks.note(step, text))
        elif not text:
            self._close_line()
        elif what == "search":
            self._typed[what] = text
            self._close_line()
            self._ask(
                f"Search {text}", "nothing holds all these words", lambda run: run.search(text, MOST_HITS)
            )
        else:
            try:
                query = parse(text, self._components())
            except QueryError as error:
                self._complain(str(error))
                self._line.cursor_position = min(error.column, len(text))
                return
            self._typed[what] = text
            self._close_line()
            self._ask(f"Filter {text}", "no response matches", lambda run: run.matching(query, MOST_HITS))

    def _components(self) -> tuple[str, ...]:
        return tuple(self._history[-1].component_means) if self._history else ()

    def _close_line(self) -> None:
        self._asking = ""
        self._line.display = False
        self._complain("")
        (self._list if self._results is not None and self._results.items else self._steps).focus()

    def _complain(self, problem: str) -> None:
        line = self.query_one("#problem", LinesView)
        line.display = bool(problem)
        line.set_lines([((problem, "bad"),)])

    def action_timeline(self) -> None:
        """The selected group's problem over the steps."""
        group = self.view.group
        if group is None:
            self._complain("this step has no groups to choose a prompt from")
            return
        title = f"Prompt {group.problem.id}  gold {group.problem.answer}"
        nothing = "this prompt has not been in a finished step yet"
        self._ask(title, nothing, lambda run: run.groups_of_problem(group.problem))

    def action_branches(self) -> None:
        """The branches of the run."""
        self._ask("Branches", "none", lambda run: run.branches())

    # --- moving -------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        if action in ("open", "bookmark", "timeline"):
            return bool(self.view.state.history)
        looking = self.check_looking(action)
        return True if looking is None else looking

    def action_move_found(self, by: int) -> None:
        """Select another row of what was found."""
        results = self._results
        if results is not None and results.items:
            row = max(0, min(len(results.items) - 1, results.cursor + by))
            self._results = Results(results.title, results.items, results.note, row)
            self._show_results()

    def action_other_list(self) -> None:
        """From one list to the other."""
        to_found = self._results is not None and self.focused is self._steps
        (self._list if to_found else self._steps).focus()

    def action_open(self) -> None:
        """Go to the step, the answer, or the branch that is selected."""
        results = self._results
        if results is None or not results.items or self.focused is not self._list:
            self.app.pop_screen()
            return
        item = results.items[results.cursor]
        if isinstance(item, Branch):
            self._show_branch(item)
        elif isinstance(item, SearchHit):
            self.view.look_at(item.step, item.group_index, item.completion_index or 0)
            self._leave("response" if item.completion_index is not None else "group")
        else:
            self.view.look_at(item.step, item.group_index)
            self._leave("group")

    def _leave(self, room: str) -> None:
        """To the room that shows what was picked, or to Live, which shows a little of everything."""
        known = {r.id for r in ROOMS}
        self.app.call_later(self.app.run_action, f"app.go_room('{room if room in known else 'live'}')")

    def _show_branch(self, branch: Branch) -> None:
        session = self.view.session
        if not isinstance(session, RecordedSession):
            self._complain("another branch is shown by `grpo-tui view`; this session trains the present one")
            return
        try:
            session.show_branch(None if branch.active else branch.id)
        except RunFileError as error:
            self._complain(str(error))
        self._show_results()

    def action_bookmark(self) -> None:
        """Set or take away a bookmark."""
        self._bookmark(self._bookmarks.toggle)

    def _bookmark(self, change: Callable[[int], object]) -> None:
        row = self._row()
        if row is None:
            return
        try:
            change(self._history[row].step)
        except RunFileError as error:
            self._complain(str(error))
        self.sync_view()

    def action_back(self) -> None:
        """Close the line, then what was found, then the room."""
        if self._asking:
            self._close_line()
        elif self._results is not None:
            self._results, self._asked = None, 0
            self._show_results()
            self._steps.focus()
            self.call_after_refresh(self.sync_view)
        else:
            self.app.pop_screen()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select what was clicked."""
        if message.view is self._steps and 0 <= message.row < len(self._history):
            self.view.go_to_step(self._history[message.row].step)
            self._moved()
        elif message.view is self._list and self._results is not None:
            self.action_move_found(message.row - self._results.cursor)
