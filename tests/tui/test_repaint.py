"""A list that grows or shrinks repaints its own rows; the screen is laid out anew only for a scrollbar."""

from __future__ import annotations

from textual.app import App, ComposeResult

from grpo_tui.tui.text import Line
from grpo_tui.tui.widgets.lines import LinesView


class OneList(App[None]):
    CSS = "LinesView { height: 6; width: 20; }"

    def compose(self) -> ComposeResult:
        yield LinesView(id="list")


def lines(count: int, word: str = "row") -> list[Line]:
    return [((f"{word} {number}", ""),) for number in range(count)]


class Counting:
    """Counts the layouts of an app's screen."""

    def __init__(self, app: App[None]) -> None:
        self.layouts = 0
        self._really = app.screen._refresh_layout
        app.screen._refresh_layout = self._count  # type: ignore[method-assign]

    def _count(self, *arguments: object, **options: object) -> None:
        self.layouts += 1
        self._really(*arguments, **options)  # type: ignore[arg-type]


def shown(app: App[None], rows: int) -> list[str]:
    """What the terminal shows, row by row."""
    strips = app.screen._compositor.render_strips()
    return [strip.text.rstrip(" ▁▂▃▄▅▆▇█▕▐") for strip in strips[:rows]]


async def test_rows_come_and_go_without_a_layout() -> None:
    """Seen to fail with: virtual_size set as it is, which lays out; rows that went not repainted."""
    app = OneList()
    async with app.run_test(size=(40, 12)) as pilot:
        view = app.query_one(LinesView)
        view.set_lines(lines(3))
        await pilot.pause()
        counting = Counting(app)
        for count in (5, 2, 6, 0, 4):
            view.set_lines(lines(count))
            await pilot.pause()
            assert shown(app, 6) == [f"row {n}" for n in range(count)] + [""] * (6 - count), count
        assert counting.layouts == 0


async def test_a_scrollbar_comes_and_goes() -> None:
    """Seen to fail with: no layout at all."""
    app = OneList()
    async with app.run_test(size=(40, 12)) as pilot:
        view = app.query_one(LinesView)
        for count in (3, 40, 80, 4):
            view.set_lines(lines(count))
            await pilot.pause()
            assert view.show_vertical_scrollbar is (count > 6), count
            assert view.virtual_size.height == count


async def test_a_list_that_shrinks_under_its_reader_scrolls_back() -> None:
    """Seen to fail with: the offset left where it was."""
    app = OneList()
    async with app.run_test(size=(40, 12)) as pilot:
        view = app.query_one(LinesView)
        view.set_lines(lines(80))
        await pilot.pause()
        view.scroll_to(y=70, animate=False, force=True)
        await pilot.pause()
        view.set_lines(lines(20))
        await pilot.pause()
        assert view.scroll_offset.y == 14
        assert shown(app, 6) == [f"row {n}" for n in range(14, 20)]
