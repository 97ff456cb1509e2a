"""What all panels share: rebuild only when something they depend on changed, and only while visible."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.content import Content
from textual.geometry import Size

from grpo_tui.tui.text import Line, clean
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import LinesView

_VALUES = (int, float, str, bool, type(None))


def _same(old: object, new: object) -> bool:
    """Identity for records, equality for plain values: records hold arrays and are never compared deeply."""
    return old is new or (isinstance(old, _VALUES) and type(old) is type(new) and old == new)


class Panel(LinesView):
    """A bordered LinesView fed from a RunView."""

    DEFAULT_CSS = """
    Panel {
        border: round $foreground 25%;
        border-title-color: $foreground 80%;
        border-title-style: bold;
        border-subtitle-color: $foreground 60%;
        padding: 0 1;
        background: $background;
        position: absolute;
    }
    Panel:focus { border: round $accent; border-title-color: $text-accent; background-tint: transparent 0%; }
    Panel.-bare { border: none; padding: 0 1; }
    Panel.-fixed { overflow: hidden hidden; }
    """

    TITLE: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    """One line for the help screen, shown when the panel has the focus."""
    MIN_INTERVAL: ClassVar[float] = 0.0
    """Shortest time between two rebuilds, seconds; charts need fewer than text."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._key: tuple[object, ...] = ()
        self._built_at = -1e9
        self._shown_title: tuple[str, str] | None = None
        self.builds = 0

    def depends(self, view: RunView) -> tuple[object, ...]:
        """Everything :meth:`build` reads; a rebuild happens only when one of these changed."""
        raise NotImplementedError

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Return the lines and the cursor row."""
        raise NotImplementedError

    def sync(self, view: RunView, *, force: bool = False) -> bool:
        """Rebuild if needed; return whether it was."""
        if not self.display or self.size.width == 0 or not self.is_attached:
            return False
        size = self.scrollable_content_region.size
        key = (size.width, size.height, *self.depends(view))
        if not force and len(key) == len(self._key) and all(map(_same, self._key, key)):
            return False
        now = time.monotonic()
        resized = self._key[:2] != key[:2]
        if not (force or resized) and now - self._built_at < self.MIN_INTERVAL:
            return False
        self._key, self._built_at = key, now
        self.builds += 1
        lines, cursor = self.build(view, size)
        self.set_lines(lines, cursor)
        return True

    def set_title(self, title: str, subtitle: str = "") -> None:
        """Set the border texts; never parsed as markup, and painted only when they change."""
        if self._shown_title != (title, subtitle):
            self._shown_title = (title, subtitle)
            self.border_title = Content(clean(title))
            self.border_subtitle = Content(clean(subtitle))
