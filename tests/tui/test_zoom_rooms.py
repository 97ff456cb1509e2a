"""Group and Response at any size and with any text: nothing crashes, nothing hostile reaches the terminal."""

from __future__ import annotations

import pytest

from grpo_tui.tui.panels.base import Panel
from tests.support.apps import Stage, paused_after, stage, wait_for
from tests.support.builders import ScriptedRun
from tests.support.looking import by_token, inspected
from tests.tui.hostile import HOSTILE
from tests.tui.test_sizes import SIZES, assert_safe, poisoned

GROUP_KEYS = ("j", "D", "w", "w", "w", "w", "w", "z", "escape", "tab", "end", "tab")
RESPONSE_KEYS = (
    "right",
    "down",
    "end",
    "t",
    "t",
    "t",
    "t",
    "t",
    "t",
    "b",
    "a",
    "d",
    "D",
    "w",
    "w",
    "c",
    "up",
    "z",
    "z",
)


async def enter(it: Stage, key: str, room: str) -> None:
    """Go to a room and wait until it is there."""
    await it.press(key)
    await wait_for(lambda: it.app.screen.id == room and it.app.screen.is_mounted)
    await it.pilot.pause()


async def painted(panel: Panel) -> None:
    """Wait until a panel has something to show."""
    await wait_for(lambda: panel.plain)


async def look(it: Stage, text: str = " alt") -> None:
    """The engine answers a look at the selected response."""
    completion, group = it.view.completion, it.view.group
    assert completion is not None
    assert group is not None
    await it.play(inspected(completion, step=it.view.shown_step, group=group.index, text=text))
    it.app.screen.sync_view(force=True)  # type: ignore[attr-defined]
    await it.pilot.pause()


@pytest.mark.parametrize("size", SIZES)
async def test_both_rooms_at_every_size(size: tuple[int, int]) -> None:
    script = ScriptedRun()
    async with stage(list(by_token(paused_after(script, 3))), size=size, script=script) as it:
        await enter(it, "2", "group")
        await it.press(*GROUP_KEYS)
        it.app.export_screenshot()
        await enter(it, "3", "response")
        await it.press(*RESPONSE_KEYS)
        await look(it)
        assert it.app.screen.id == "response"
        for panel in it.app.screen.query(Panel):
            if panel.display and size[0] >= 40:
                region = panel.region
                assert region.right <= max(size[0], 1)
                assert region.bottom <= max(size[1], 1)
        it.app.export_screenshot()


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 40), (200, 60)])
async def test_tokens_and_answers_can_be_seen(size: tuple[int, int]) -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 3), size=size, script=script) as it:
        for key, room, name in (("2", "group", "answers"), ("3", "response", "tokens")):
            await enter(it, key, room)
            panel = it.app.screen.query_one(f"#{name}", Panel)
            await painted(panel)
            assert panel.display
            assert panel.size.height >= 1
            assert panel.plain


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_goes_through_both_rooms(text: str) -> None:
    script = ScriptedRun(num_groups=2, group_size=3)
    async with stage(poisoned(text), script=script) as it:
        await enter(it, "2", "group")
        await it.press("n", "j", "D")
        await it.pilot.pause()
        assert_safe(it)
        await enter(it, "3", "response")
        await look(it, text)
        assert_safe(it)
        await it.press("t", "b", "d", "end", "c", "down")
        await it.pilot.pause()
        assert_safe(it)
        await it.pilot.resize_terminal(80, 24)
        await it.press("w")
        await it.pilot.pause()
        assert_safe(it)
        it.app.export_screenshot()


async def test_markup_is_shown_as_it_is() -> None:
    async with stage(poisoned("[red]x[/red] [1, 2]")) as it:
        await enter(it, "2", "group")
        await it.pilot.pause()
        text = "[red]x[/red] [1, 2]"
        for name in ("histogram", "response", "head"):
            assert text[:9] in it.app.screen.query_one(f"#{name}", Panel).plain
        await enter(it, "3", "response")
        await look(it)
        assert text in it.app.screen.query_one("#tokens", Panel).plain
        assert text in it.app.screen.query_one("#verifier", Panel).plain


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "nord"])
async def test_themes(theme: str) -> None:
    async with stage() as it:
        if theme in it.app.available_themes:
            it.app.theme = theme
        await enter(it, "3", "response")
        await it.press("t")
        await look(it)
        assert it.app.export_screenshot()
        shades = len(it.app.screen.query_one("#tokens", Panel).lines) > 1
        assert shades is (theme == "ansi-dark"), "sixteen colours have no shades"
