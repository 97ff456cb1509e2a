"""Every room, as far as there are rooms: every size, theme and colour depth, and every hostile text."""

from __future__ import annotations

import re
import sys
import time
import unicodedata
from collections.abc import Iterator

import pytest

from grpo_tui.events.types import Event, Notice
from grpo_tui.tui.rooms import ROOMS
from tests.support.apps import Stage, failure, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.tui.hostile import HOSTILE
from tests.tui.test_capture import under_pty
from tests.tui.test_sizes import poison

IDS = [room.id for room in ROOMS]
SIZES = [(40, 12), (80, 24), (120, 40), (200, 60)]
HIDDEN = frozenset("\u202e\u202d\u2066\u200b\u200d\ufeff\u2028\x00")
MEGABYTE = "the same word and " * 55_000 + "\\boxed{7}"


async def go(it: Stage, room: str) -> None:
    if room != "live":
        it.app.action_go_room(room)
        await wait_for(lambda: it.app.screen.id == room)
    await it.settle()


def assert_painted_well(it: Stage) -> None:
    """No row is wider than the terminal, and no character moves the cursor or hides."""
    width, height = it.app.size
    strips = it.app.screen._compositor.render_strips()
    assert len(strips) <= height
    for strip in strips:
        assert strip.cell_length <= width
        for char in strip.text:
            assert char not in HIDDEN
            assert unicodedata.category(char) != "Cc", (hex(ord(char)), strip.text)


@pytest.mark.parametrize("look", ["textual-dark", "textual-light", "ansi-dark", "ansi-light", "NO_COLOR"])
@pytest.mark.parametrize("room", IDS)
async def test_every_room_in_every_size_and_look(
    room: str, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if look == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    script = ScriptedRun()
    async with stage(list(script.whole(4)), script=script, size=SIZES[0]) as it:
        if look != "NO_COLOR":
            it.app.theme = look
        await go(it, room)
        for size in SIZES:
            await it.pilot.resize_terminal(*size)
            await it.settle()
            assert_painted_well(it)
            if size >= (80, 24):
                assert "?" in it.keys, "the key bar offers help in every room"
            await it.press("j", "n")
            assert_painted_well(it)
        it.app.export_screenshot()


@pytest.mark.parametrize("room", IDS)
async def test_a_tick_asks_nothing_of_a_room_that_is_being_taken_down(room: str) -> None:
    script = ScriptedRun()
    async with stage(list(script.whole(4)), script=script) as it:
        await go(it, room)
        screen = it.app.screen
        await (
            screen.remove()
        )  # as the app does with each, from the top, when it ends; its stack still has it then
        assert it.app.screen is screen
        assert not screen.query("*"), "its widgets are gone"
        it.app.sync()


def hostile_steps() -> Iterator[Event]:
    """One step for each text, in which everything that can be text is that text."""
    script = ScriptedRun(num_groups=2, group_size=3)
    yield from script.loading()
    for number, text in enumerate(HOSTILE, start=1):
        yield from poison((event for _, event in script.step(number)), text)
        yield Notice(time=T0, level="warning", message=text, source=text)


@pytest.mark.parametrize("room", IDS)
async def test_hostile_text_in_every_room(room: str) -> None:
    async with stage(list(hostile_steps()), script=ScriptedRun(num_groups=2, group_size=3)) as it:
        await go(it, room)
        for text in reversed(HOSTILE):
            it.view.log_lines("info", text, [text])
            await it.press("j", "n")
            await it.settle()
            assert_painted_well(it)
            it.view.move_step(-1)
        for size in SIZES:
            await it.pilot.resize_terminal(*size)
            await it.settle()
            assert_painted_well(it)
        await it.play(failure(message=HOSTILE[3]))
        assert_painted_well(it)


@pytest.mark.parametrize("room", IDS)
async def test_a_megabyte_on_one_line_holds_up_no_key(room: str) -> None:
    script = ScriptedRun(num_groups=2, group_size=3)
    steps = (event for number in (1, 2) for _, event in script.step(number))
    async with stage([*script.loading(), *poison(steps, MEGABYTE)], script=script) as it:
        it.view.log_lines("info", "output", [MEGABYTE])
        await go(it, room)
        if room == "live":
            await it.press("enter", "enter")
        for key in ("j", "n", "k", "p"):
            before = time.process_time()
            await it.press(key)
            it.app.sync()
            await it.pilot.pause(0)
            # Of this process's processor, whoever else is busy.
            assert time.process_time() - before < 0.25, key
        assert_painted_well(it)


COLOURS = {
    "standard": ((), ("38;5;", "48;5;", "38;2;", "48;2;")),
    "256": (("38;5;",), ("38;2;", "48;2;")),
    "truecolor": (("38;2;",), ()),
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("system", COLOURS)
def test_a_terminal_is_sent_only_colours_that_it_has(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_COLOR_SYSTEM", system)
    wanted, refused = COLOURS[system]
    sent = run_demo()
    assert "Trends" in sent
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", sent), "no colour at all"
    assert all(code in sent for code in wanted)
    assert not any(re.search(rf"\x1b\[(?:[0-9;]*;)?{code}", sent) for code in refused)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_no_color_sends_greys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TEXTUAL_COLOR_SYSTEM", "truecolor")
    sent = run_demo()
    assert "Trends" in sent
    colours = re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", sent)
    assert colours
    assert all(red == green == blue for red, green, blue in colours)


def run_demo() -> str:
    """All that a terminal is sent by the app over a scripted run, until it is told to quit."""
    program = (
        "import os, sys\nfrom tests.support.demo import make_app\n"
        "app = make_app(3)\napp.run()\nsys.stderr.flush()\nos._exit(0)"
    )
    status, sent = under_pty(program, seconds=90, keys=[("What is", b"\x03"), ("once more", b"\x03\x03\x03")])
    assert status == 0, sent[-2000:]
    return sent
