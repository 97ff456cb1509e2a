"""Help: the focused panel first, then the keys of this room, every key, and what the words mean. Searchable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from grpo_tui.tui.action import Action
from grpo_tui.tui.actions import (
    ACT_ACTIONS,
    APP_ACTIONS,
    EVERY,
    LOOK_ACTIONS,
    OUT_ACTIONS,
    RUN_ACTIONS,
    TRAVEL_ACTIONS,
)
from grpo_tui.tui.help_text import GLOSSARY, TERMINAL_TIPS
from grpo_tui.tui.room_actions import BY_ROOM
from grpo_tui.tui.rooms import ROOM_ACTIONS
from grpo_tui.tui.text import Line, cells, fit, line_width, wrapped
from grpo_tui.tui.widgets.lines import LinesView

PANEL_KEYS = {
    "groups": ("look.next_group", "look.previous_group", "look.sort", "look.in"),
    "answers": ("look.next_response", "look.previous_response", "look.in", "look.out"),
    "chart": ("live.chart", "look.earlier", "look.later"),
    "trends": ("live.chart",),
    "health": ("room.health",),
    "tokens": ("heat.next", "heat.base", "heat.after", "heat.inspect", "zoom.diff", "heat.mono"),
    "versus": ("zoom.versus", "zoom.pane"),
    "failure": ("run.retry", "run.dismiss", "room.log"),
}
COMMON_PANEL_KEYS = ("look.zoom", "look.out")

KeyText = Callable[[Action], str]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its entries; an entry is found, or not, as a whole."""

    heading: str
    entries: list[list[Line]] = field(default_factory=list)

    def matching(self, query: str) -> list[list[Line]]:
        """The entries that hold every word of a query; all of them if the heading does."""
        words = query.casefold().split()
        if all(word in self.heading.casefold() for word in words):
            return self.entries
        return [entry for entry in self.entries if all(word in _plain(entry) for word in words)]


class HelpScreen(ModalScreen[None]):
    """A sheet over the screen it was called from."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "close", id="help.back"),
        Binding("q,question_mark,f1", "dismiss(None)", "close", id="help.close"),
        Binding("slash,f,ctrl+f", "search", "search", id="help.search"),
    ]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen LinesView {
        width: 90%; max-width: 96; height: 90%; border: round $accent; padding: 0 1; background: $surface;
    }
    HelpScreen Input, HelpScreen Input:focus { width: 90%; max-width: 96; height: 1; border: none; padding: 0 2;
        background: $panel; }
    """

    def __init__(
        self,
        title: str,
        about: str,
        panel: str,
        measured: Sequence[Line] = (),
        *,
        room: str = "",
        here: Sequence[Action] = (),
    ) -> None:
        super().__init__(id="help")
        self._about = (title, about, panel, measured)
        self._here = (room, here)
        self._query = ""

    def compose(self) -> ComposeResult:
        """One scrollable sheet, and a line to search in."""
        yield LinesView(id="sheet")
        line = Input(placeholder="words to find; Enter to the text, Esc for all of it", id="query")
        line.display = False
        yield line

    def on_mount(self) -> None:
        """Take the focus, so that arrows scroll."""
        sheet = self.query_one("#sheet", LinesView)
        sheet.border_title = Content("Help")
        sheet.border_subtitle = Content("/ searches · arrows scroll · Esc closes")
        sheet.focus()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self.call_after_refresh(self._fill)

    def action_search(self) -> None:
        """Type words to find."""
        line = self.query_one("#query", Input)
        line.display = True
        line.focus()

    def action_back(self) -> None:
        """Out of the search first, then out of the help."""
        line = self.query_one("#query", Input)
        if line.display:
            line.value, line.display = "", False
            self.query_one("#sheet").focus()
        else:
            self.dismiss(None)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show only what was asked for."""
        self._query = event.value
        self._fill()

    def on_input_submitted(self) -> None:
        """To the text, to scroll in it."""
        self.query_one("#sheet").focus()

    def _fill(self) -> None:
        sheet = self.query_one("#sheet", LinesView)
        width = sheet.scrollable_content_region.width
        key_text: KeyText = getattr(self.app, "key_text", lambda action: action.key_name)
        parts = sections(*self._about, *self._here, width=width, key_text=key_text)
        sheet.set_lines(laid_out(parts, self._query, width))
        sheet.scroll_to(y=0, animate=False)


def sections(
    title: str,
    about: str,
    panel: str,
    measured: Sequence[Line],
    room: str,
    here: Sequence[Action],
    *,
    width: int,
    key_text: KeyText,
) -> list[Section]:
    """The whole help: panel, numbers of the step looked at, room, all keys, words, terminal."""
    every = {action.id: action for action in (*EVERY, *ROOM_ACTIONS)}

    def keys(heading: str, actions: Sequence[Action]) -> Section:
        return Section(heading, [_key_rows(action, width, key_text) for action in actions])

    found: list[Section] = []
    if title:
        own = (*PANEL_KEYS.get(panel, ()), *COMMON_PANEL_KEYS) if panel else ()
        first = keys(f"Here: {title}", [every[id] for id in dict.fromkeys(own)])
        first.entries.insert(0, wrapped(about, width))
        found.append(first)
    if measured:
        found.append(Section("", [[line] for line in measured]))
    if here:
        found.append(keys(f"This room: {room}", here))
    found += [
        keys("Run", RUN_ACTIONS),
        keys("Change the step, before its update", ACT_ACTIONS),
        keys("Go back and forth", TRAVEL_ACTIONS),
        keys("Look", LOOK_ACTIONS),
        *(keys(heading, actions) for heading, actions in BY_ROOM),
        keys("Rooms", ROOM_ACTIONS),
        keys("Hand out", OUT_ACTIONS),
        keys("App", APP_ACTIONS),
        Section("Words", [_word_rows(*entry, width) for entry in GLOSSARY]),
        Section("Terminal", [wrapped(tip, width) for tip in TERMINAL_TIPS]),
    ]
    return found


def laid_out(parts: Sequence[Section], query: str, width: int) -> list[Line]:
    """Sections as lines, without those in which nothing is found."""
    lines: list[Line] = []
    for part in parts:
        entries = part.matching(query)
        if entries:
            heading: list[Line] = [((part.heading, "accent bold"),)] if part.heading else []
            lines += [
                *heading,
                *(row for entry in entries for row in entry),
                (("", ""),),
            ]
    return lines or [*wrapped(f"nothing about {query!r}", width, "dim")]


def _word_rows(word: str, formula: str, meaning: str, width: int) -> list[Line]:
    rows = [(("  ", ""), *row) for row in wrapped(meaning, width - 2)]
    return [((fit(word, 15), "bold"), (formula, "info")), *rows]


def _key_rows(action: Action, width: int, key_text: KeyText) -> list[Line]:
    """Key, what it does, and in the end its id: by that name the preferences move it."""
    rows = wrapped(action.help, max(10, width - 10))
    lines: list[Line] = [
        ((fit(key_text(action), 9), "key"), *rows[0]),
        *(((" " * 9, ""), *row) for row in rows[1:]),
    ]
    tail = f"  {action.id}"
    if line_width(lines[-1]) + cells(tail) <= width:
        lines[-1] = (*lines[-1], (tail, "dim"))
    return lines


def _plain(entry: Sequence[Line]) -> str:
    return " ".join(text for line in entry for text, _ in line).casefold()
