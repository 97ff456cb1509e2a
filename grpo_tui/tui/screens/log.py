"""The Log room: what the engine said, and everything the libraries printed."""

from __future__ import annotations

import heapq
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from grpo_tui.tui.panels.status import log_rows
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView


class LogScreen(RoomScreen):
    """All lines in order of time; follows the end until scrolled up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "back", show=False, id="log.back"),
        Binding(
            "f", "toggle_follow", "follow", show=True, id="log.follow", tooltip="Stay at the newest line."
        ),
    ]
    DEFAULT_CSS = """
    LogScreen #lines { height: 1fr; border: round $foreground 25%; padding: 0 1; background: $background; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="log")
        self.follow = True
        self._key: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """The lines and the keys."""
        yield LinesView(id="lines")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Start at the end."""
        self.query_one("#lines").focus()

    def on_resize(self) -> None:
        """Cut lines to the new width."""
        self._key = ()
        self.call_after_refresh(self.sync_view)

    def action_toggle_follow(self) -> None:
        """Follow the end, or stay here."""
        self.follow = not self.follow
        self._key = ()
        self.sync_view()

    def sync_view(self, *, force: bool = False) -> None:
        """Show new lines."""
        view = self.query_one("#lines", LinesView)
        key = (self.view.state.log, self.view.output_version, self.follow)
        if (
            not force
            and len(key) == len(self._key)
            and all(a is b for a, b in zip(key, self._key, strict=True))
        ):
            return
        self._key = key
        width = view.scrollable_content_region.width
        merged = heapq.merge(self.view.state.log, sorted(self.view.output, key=_time), key=_time)
        lines = [row for line in merged for row in log_rows(line, width)]
        view.set_lines(lines or [(("nothing yet", "dim"),)])
        state = "following" if self.follow else "not following"
        view.border_title = Content(f"Log  {len(lines)} lines, {state}")
        if self.follow:
            view.call_after_refresh(view.scroll_end, animate=False)


def _time(line: object) -> float:
    return float(getattr(line, "time", 0.0))
