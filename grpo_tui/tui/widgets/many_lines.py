"""A LinesView over very many rows: each is made when it is first painted, and forgotten again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from textual.geometry import Size

from grpo_tui.tui.text import Line
from grpo_tui.tui.widgets.lines import LinesView

KEPT_ROWS = 512


class ManyLinesView(LinesView):
    """Rows by number from a function; thousands cost no more than those on screen."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._count = 0
        self._make: Callable[[int], Line] = lambda _row: ()
        self._made: OrderedDict[int, Line] = OrderedDict()
        self._version: object = None
        self.rows_made = 0
        """For tests and curiosity: how many rows were ever made."""

    @property
    def count(self) -> int:
        """Number of rows."""
        return self._count

    def set_rows(self, count: int, make: Callable[[int], Line], version: object, cursor: int | None) -> None:
        """Show ``count`` rows.

        Args:
            count: how many there are.
            make: gives row n; called only for rows that are painted.
            version: rows made before stay good while this is equal, but for new ones at the end.
            cursor: the highlighted row.
        """
        grown = count != self._count
        if version != self._version:
            self._made.clear()
        if grown or version != self._version:
            self._count, self._make, self._version = count, make, version
            self.virtual_size = Size(self.scrollable_content_region.width, count)
            self.refresh()
        self._make = make
        old, self._cursor = self._cursor, cursor
        if cursor != old:
            for row in (old, cursor):
                if row is not None:
                    self.refresh_line(row)
        if cursor is not None and (cursor != old or grown):
            self.reveal(cursor)

    def on_resize(self) -> None:
        """Keep the highlighted row in sight, also where another list takes some of the room."""
        self.reveal_cursor()

    def reveal_cursor(self) -> None:
        """Bring the highlighted row into sight."""
        if self._cursor is not None:
            self.reveal(self._cursor)

    def line_at(self, row: int) -> Line | None:
        """Make a row, or give the one made before."""
        if not 0 <= row < self._count:
            return None
        if row not in self._made:
            self.rows_made += 1
            self._made[row] = self._make(row)
            while len(self._made) > KEPT_ROWS:
                self._made.popitem(last=False)
        self._made.move_to_end(row)
        return self._made[row]

    @property
    def plain(self) -> str:
        """The rows on screen, without styles."""
        top = self.scroll_offset.y
        rows = range(top, min(self._count, top + self.scrollable_content_region.height))
        lines = (self.line_at(row) or () for row in rows)
        return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
