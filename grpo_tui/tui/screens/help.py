"""Help: the focused panel first, then every key, then what the words mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from grpo_tui.tui.actions import APP_ACTIONS, LIVE_ACTIONS, LOOK_ACTIONS, PLAY_ACTIONS, RUN_ACTIONS, Action
from grpo_tui.tui.help_text import GLOSSARY, TERMINAL_TIPS
from grpo_tui.tui.rooms import ROOM_ACTIONS
from grpo_tui.tui.text import Line, fit, wrapped
from grpo_tui.tui.widgets.lines import LinesView

PANEL_KEYS = {
    "groups": ("look.next_group", "look.previous_group", "look.sort", "look.in"),
    "answers": ("look.next_response", "look.previous_response", "look.in", "look.out"),
    "chart": ("live.chart", "look.earlier", "look.later"),
    "trends": ("live.chart",),
    "health": ("room.health",),
    "failure": ("run.retry", "run.dismiss", "room.log"),
}
COMMON_PANEL_KEYS = ("look.zoom", "look.out")


class HelpScreen(ModalScreen[None]):
    """A sheet over the screen it was called from."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss(None)", "close", id="help.close"),
    ]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen LinesView {
        width: 90%; max-width: 96; height: 90%; border: round $accent; padding: 0 1; background: $surface;
    }
    """

    def __init__(self, title: str, about: str, panel: str, measured: Sequence[Line] = ()) -> None:
        super().__init__(id="help")
        self._title, self._about, self._panel, self._measured = title, about, panel, measured

    def compose(self) -> ComposeResult:
        """One scrollable sheet."""
        yield LinesView(id="sheet")

    def on_mount(self) -> None:
        """Take the focus, so that arrows scroll."""
        sheet = self.query_one("#sheet", LinesView)
        sheet.border_title = Content("Help")
        sheet.border_subtitle = Content("Esc closes · arrows scroll")
        sheet.focus()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        sheet = self.query_one("#sheet", LinesView)
        width = sheet.scrollable_content_region.width
        sheet.set_lines(sheet_lines(self._title, self._about, self._panel, width, self._measured))


def sheet_lines(title: str, about: str, panel: str, width: int, measured: Sequence[Line] = ()) -> list[Line]:
    """The whole help as lines; ``measured``: numbers of the step that is looked at."""
    every = {
        action.id: action
        for action in (*RUN_ACTIONS, *LOOK_ACTIONS, *LIVE_ACTIONS, *ROOM_ACTIONS, *APP_ACTIONS)
    }
    lines: list[Line] = []
    if title:
        lines += [((f"Here: {title}", "accent bold"),), *wrapped(about, width)]
        own = (*PANEL_KEYS.get(panel, ()), *COMMON_PANEL_KEYS) if panel else ()
        lines += [row for id in dict.fromkeys(own) for row in _key_rows(every[id], width)]
        lines.append((("", ""),))
    if measured:
        lines += [*measured, (("", ""),)]
    for heading, actions in (
        ("Run", RUN_ACTIONS),
        ("Look", (*LOOK_ACTIONS, *LIVE_ACTIONS)),
        ("Playground", PLAY_ACTIONS),
        ("Rooms", ROOM_ACTIONS),
        ("App", APP_ACTIONS),
    ):
        lines.append(((heading, "accent bold"),))
        lines += [row for action in actions for row in _key_rows(action, width)]
        lines.append((("", ""),))
    lines.append((("Words", "accent bold"),))
    for word, formula, meaning in GLOSSARY:
        lines.append(((fit(word, 15), "bold"), (formula, "info")))
        lines += [(("  ", ""), *row) for row in wrapped(meaning, width - 2)]
    lines += [(("", ""),), (("Terminal", "accent bold"),)]
    lines += [row for tip in TERMINAL_TIPS for row in wrapped(tip, width)]
    return lines


def _key_rows(action: Action, width: int) -> list[Line]:
    rows = wrapped(action.help, max(10, width - 10))
    return [((fit(action.key_name, 9), "key"), *rows[0]), *(((" " * 9, ""), *row) for row in rows[1:])]
