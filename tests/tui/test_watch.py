"""The Watch room: responses side by side while they are sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grpo_tui.events.records import Phase
from grpo_tui.events.types import Event, GrowingAnswer, PhaseStarted, Preview
from grpo_tui.tui.screens.watch import CARET, WatchScreen
from grpo_tui.tui.text import line_width
from grpo_tui.tui.widgets.tiles import LEAST_HEIGHT, Tile, tiles
from tests.support.apps import Stage, paused_after, stage, wait_for
from tests.support.builders import ScriptedRun
from tests.tui.hostile import HOSTILE


def sampling(script: ScriptedRun) -> list[Event]:
    """Three finished steps, and the fourth while it samples."""
    events = list(script.whole(3))
    for _, event in script.step(4):
        events.append(event)
        if isinstance(event, PhaseStarted) and event.phase is Phase.SAMPLE:
            return events
    raise AssertionError


def preview(*texts: str, step: int = 4, group: int = 0) -> Preview:
    answers = tuple(
        GrowingAnswer(index=i, num_tokens=len(text), text=text, finished=i == 0)
        for i, text in enumerate(texts)
    )
    return Preview(step=step, group=group, question="What is 2 + 2?", answers=answers)


def sheet(it: Stage) -> str:
    assert isinstance(it.app.screen, WatchScreen)
    return it.app.screen.query_one("#answers").plain  # type: ignore[attr-defined, no-any-return]


async def opened(it: Stage) -> WatchScreen:
    await it.press("v")
    await wait_for(lambda: isinstance(it.app.screen, WatchScreen) and it.session.watched)
    assert isinstance(it.app.screen, WatchScreen)
    return it.app.screen


async def test_answers_grow_side_by_side() -> None:
    script = ScriptedRun()
    async with stage(sampling(script), script=script) as it:
        screen = await opened(it)
        group = screen.group
        assert it.session.watched == [group]
        await wait_for(lambda: "has no tokens yet" in sheet(it))
        it.session.seen = preview("first is done", "second go", group=group)
        await wait_for(lambda: "second go" in sheet(it))
        row = next(line for line in sheet(it).splitlines() if "first is done" in line)
        assert f"second go{CARET}" in row, "side by side"
        assert f"done{CARET}" not in row, "one that has ended does not blink"
        assert "What is 2 + 2?" in sheet(it)
        it.session.seen = preview("first is done", "second goes on", group=group)
        await wait_for(lambda: "second goes on" in sheet(it))


async def test_leaving_stops_watching() -> None:
    script = ScriptedRun()
    async with stage(sampling(script), script=script) as it:
        await opened(it)
        await it.press("escape")
        await wait_for(lambda: it.session.watched[-1] is None)
        await opened(it)
        await it.press("l")
        await wait_for(lambda: it.session.watched[-1] is None)  # another room in its place


async def test_the_selected_group_is_watched_and_n_goes_on_round() -> None:
    script = ScriptedRun()
    async with stage(sampling(script), script=script) as it:
        await it.press("n")
        selected = it.view.group
        assert selected is not None
        screen = await opened(it)
        assert it.session.watched == [selected.index]
        for _ in range(8):
            await it.press("n")
        assert screen.group == selected.index
        await it.press("p")
        assert it.session.watched[-1] == (selected.index - 1) % 8


async def test_what_was_seen_of_another_group_or_step_is_not_shown() -> None:
    script = ScriptedRun()
    async with stage(sampling(script), script=script) as it:
        screen = await opened(it)
        for other in (preview("stale", step=3, group=screen.group), preview("stale", group=screen.group + 1)):
            it.session.seen = other
            screen.sync_view(force=True)
            assert "stale" not in sheet(it)
            assert "has no tokens yet" in sheet(it)


async def test_when_it_is_drawn_the_verdicts_come() -> None:
    script = ScriptedRun()
    async with stage(sampling(script), script=script) as it:
        screen = await opened(it)
        it.session.seen = preview("growing", "too", group=screen.group)
        await wait_for(lambda: "growing" in sheet(it))
        rest = [event for _, event in ScriptedRun().step(4)]
        sampled = next(
            n for n, e in enumerate(rest) if isinstance(e, PhaseStarted) and e.phase is Phase.SAMPLE
        )
        it.session.play(*rest[sampled + 1 :])
        await wait_for(lambda: "tok" in sheet(it) and "growing" not in sheet(it))
        await wait_for(lambda: any(sign in sheet(it) for sign in "✓✗"))


async def test_between_steps_it_says_what_to_do() -> None:
    script = ScriptedRun()
    async with stage([*script.loading(), script.ready()], script=script) as it:
        await opened(it)
        await wait_for(lambda: "Space runs" in sheet(it))


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 40), (200, 60)])
async def test_every_size(size: tuple[int, int]) -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 2), size=size, script=script) as it:
        await opened(it)
        await wait_for(lambda: "r1" in sheet(it))
        assert sum(sheet(it).count(f"r{n} ") for n in range(1, 9)) == 8, "all of the group"
        it.app.export_screenshot()


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text(text: str) -> None:
    script = ScriptedRun()
    async with stage(sampling(script), script=script) as it:
        screen = await opened(it)
        it.session.seen = replace(preview(text, text, group=screen.group), question=text)
        screen.sync_view(force=True)
        view = screen.query_one("#answers")
        for y in range(view.size.height):
            painted = view.render_line(y).text
            assert not [
                c for c in painted if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b\ud800"
            ]


def plain(shown: list[Tile], width: int, height: int) -> list[str]:
    lines = tiles(shown, width, height)
    assert {line_width(line) for line in lines} <= {max(line_width(line) for line in lines)}
    return ["".join(text for text, _ in line) for line in lines]


def test_tiles_are_as_even_as_they_go() -> None:
    shown = [Tile(((f"r{n}", ""),), f"text {n}") for n in range(8)]
    wide = tiles(shown, 120, 30)
    heads = [
        line
        for line in ("".join(t for t, _ in row) for row in wide)
        if "r0" in line or "r3" in line or "r6" in line
    ]
    assert [line.count("r") for line in heads] == [3, 3, 2]
    assert tiles([], 80, 20) == []


def test_one_column_where_two_are_too_narrow() -> None:
    shown = [Tile(((f"r{n}", ""),), "x") for n in range(3)]
    rows = plain(shown, 60, 5)
    assert [row.strip() for row in rows[::LEAST_HEIGHT]] == ["r0", "r1", "r2"], (
        "more than fit are scrolled to"
    )


def test_of_a_long_text_the_end_is_shown() -> None:
    text = "begin " + "word " * 500 + "end"
    rows = plain([Tile((("r0", ""),), text, "▌")], 40, 6)
    assert "end▌" in "".join(rows)
    assert "begin" not in "".join(rows)
    assert len(rows) == 6
