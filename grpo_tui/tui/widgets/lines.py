"""A view of styled one-row lines, which repaints only the rows that changed.

Every panel is one of these. Lines are plain tuples of ``(text, role)``: there is no markup anywhere, so no
text of a model can be mistaken for any, and comparing old with new lines is cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from grpo_tui.tui.text import Line, clean, line_width

ROLES = (
    "dim",
    "bold",
    "good",
    "bad",
    "warn",
    "accent",
    "info",
    "title",
    "mark",
    "runner",
    "key",
    "up",
    "down",
)


FAR = 1_000_000


def list_keys(move: str) -> list[BindingType]:
    """Arrow keys of a list whose rows are selected by the screen's ``move(by)``."""
    keys = (("up", -1), ("down", 1), ("pageup", -10), ("pagedown", 10), ("home", -FAR), ("end", FAR))
    return [Binding(key, f"screen.{move}({by})", show=False, id=f"{move}.{key}") for key, by in keys]


class LinesView(ScrollView, can_focus=True):
    """Scrollable rows of styled text with an optional cursor row."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line--{role}" for role in (*ROLES, "cursor", "cursor-focus")}
    DEFAULT_CSS = """
    LinesView {
        scrollbar-size: 1 1;
        overflow-x: hidden;
        .line--dim { color: $foreground 55%; }
        .line--bold { text-style: bold; }
        .line--good { color: $text-success; }
        .line--bad { color: $text-error; }
        .line--warn { color: $text-warning; }
        .line--accent { color: $text-accent; }
        .line--info { color: $text-primary; }
        .line--title { color: $foreground; text-style: bold; }
        .line--mark { background: $warning 35%; text-style: bold underline; }
        .line--runner { text-style: underline; }
        .line--key { color: $text-accent; text-style: bold; }
        .line--up { color: $success; }
        .line--down { color: $error; }
        .line--cursor { background: $foreground 12%; }
        .line--cursor-focus { background: $primary 40%; text-style: bold; }
    }
    """

    class RowClicked(Message):
        """A row was clicked."""

        def __init__(self, view: LinesView, row: int, column: int) -> None:
            self.view = view
            self.row = row
            self.column = column
            super().__init__()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []
        self._cursor: int | None = None
        self._roles: dict[str, Style] = {}

    @property
    def lines(self) -> Sequence[Line]:
        """What is shown."""
        return self._lines

    @property
    def plain(self) -> str:
        """What is shown, without styles (for tests and copying)."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self._lines)

    @property
    def cursor(self) -> int | None:
        """The highlighted row."""
        return self._cursor

    def set_lines(self, lines: Sequence[Line], cursor: int | None = None) -> None:
        """Show these lines; only rows that differ are repainted."""
        old, old_cursor = self._lines, self._cursor
        self._lines, self._cursor = list(lines), cursor
        if len(old) != len(self._lines):
            self._set_height(len(self._lines))
        changed = {y for y, (was, now) in enumerate(zip_longest(old, self._lines)) if was != now}
        if cursor != old_cursor:
            changed |= {y for y in (cursor, old_cursor) if y is not None}
        for y in changed:
            self.refresh_line(y)
        if cursor is not None and cursor != old_cursor:
            self.reveal(cursor)

    def _set_height(self, num_lines: int) -> None:
        """Have room for so many lines. Only a scrollbar that comes or goes lays the screen out anew, which paints all of it."""
        width, height = self.scrollable_content_region.size
        size = Size(width, num_lines)
        needs_bar = self.styles.overflow_y == "auto" and num_lines > height
        if height <= 0 or needs_bar != self.show_vertical_scrollbar:
            self.virtual_size = size
            self.refresh()
            return
        self.set_reactive(ScrollView.virtual_size, size)
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.window_virtual_size = num_lines
        if self.scroll_offset.y > self.max_scroll_y:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)

    def reveal(self, row: int, margin: int = 0) -> None:
        """Scroll so that a row can be seen."""
        height = self.scrollable_content_region.height
        top = self.scroll_offset.y
        if height <= 0:
            return
        if row - margin < top:
            self.scroll_to(y=max(0, row - margin), animate=False, force=True)
        elif row + margin >= top + height:
            self.scroll_to(y=row + margin - height + 1, animate=False, force=True)

    def refresh_line(self, y: int) -> None:
        """Repaint one line, if it can be seen."""
        row = y - self.scroll_offset.y
        size = self.scrollable_content_region.size
        if 0 <= row < size.height:
            self.refresh(Region(0, row, size.width, 1))

    def notify_style_update(self) -> None:
        """Forget resolved colours when the theme changes."""
        self._roles.clear()
        super().notify_style_update()

    def _role(self, names: str) -> Style:
        style = self._roles.get(names)
        if style is None:
            style = self.rich_style
            for name in names.split():
                style += self._component(name)
            self._roles[names] = style
        return style

    def _component(self, name: str) -> Style:
        """A role's own style; half-transparent colours are laid over the background."""
        styles = self.get_component_styles(f"line--{name}")
        under = self.background_colors[1]
        color = (under + styles.color).rich_color if styles.has_rule("color") else None
        ground = (under + styles.background).rich_color if styles.has_rule("background") else None
        return Style(color=color, bgcolor=ground) + styles.text_style

    def line_at(self, row: int) -> Line | None:
        """One row of the text; None where there is none."""
        return self._lines[row] if 0 <= row < len(self._lines) else None

    def render_line(self, y: int) -> Strip:
        """Return one row of the viewport."""
        row = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        base = self.rich_style
        line = self.line_at(row)
        if line is None:
            return Strip.blank(width, base)
        segments = [Segment(clean(text), self._role(role) if role else base) for text, role in line if text]
        if row == self._cursor:
            tint = self._component("cursor-focus" if self.has_focus else "cursor")
            segments = [Segment(text, (style or base) + tint) for text, style, _ in segments]
            return Strip(segments).adjust_cell_length(width, base + tint)
        if line_width(line) == width:
            return Strip(segments, width)
        return Strip(segments).adjust_cell_length(width, base)

    def on_click(self, event: events.Click) -> None:
        """Tell the screen which row was clicked."""
        offset = event.get_content_offset(self)
        if offset is not None:
            self.post_message(self.RowClicked(self, offset.y + self.scroll_offset.y, offset.x))

    def watch_has_focus(self, _has_focus: bool) -> None:
        """Repaint the cursor row in its other colour."""
        super().watch_has_focus(_has_focus)
        if self._cursor is not None:
            self.refresh_line(self._cursor)

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        """Fill the width given."""
        return container.width
