"""Quitting: at once where nothing is lost, with a question while a step runs, never for ever."""

from __future__ import annotations

import pytest

from grpo_tui.events.commands import StepOnce, Stop
from grpo_tui.events.records import Mode
from grpo_tui.events.types import RunEnded
from grpo_tui.tui import leaving
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.screens.leave import ClosingScreen, LeaveScreen
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.widgets.lines import LinesView
from tests.support.apps import Stage, failure, paused_after, stage, wait_for
from tests.support.builders import T0, ScriptedRun


async def gone(it: Stage) -> int | None:
    await wait_for(lambda: it.app._exit)
    return it.app.return_value


async def test_paused_between_steps_q_saves_and_leaves() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 3), script=script) as it:
        await it.press("q")
        assert it.session.commands == [Stop()]
        assert isinstance(it.app.screen, ClosingScreen)
        await wait_for(lambda: "saving" in it.app.screen.query_one("#note", LinesView).plain)
        it.session.play(RunEnded(time=T0, reason="stopped", finished_steps=3))
        it.session.is_alive = False
        assert await gone(it) == 0


async def test_while_a_step_runs_q_asks_and_escape_cancels() -> None:
    async with stage() as it:
        await it.press("q")
        assert isinstance(it.app.screen, LeaveScreen)
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)
        assert it.session.commands == []


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_the_question_fills_its_box(size: tuple[int, int]) -> None:
    """Three choices, with a border and a row above and below. Seen to fail with: a box of nine rows."""
    async with stage(size=size) as it:
        await it.press("q")
        sheet = it.app.screen.query_one("#question", LinesView)
        assert len(sheet.plain.splitlines()) == 3
        assert sheet.outer_size.height == 3 + 4


async def test_where_choices_are_folded_they_keep_their_room() -> None:
    """Seen to fail with: the box cut to the choices at any width."""
    async with stage(size=(50, 24)) as it:
        await it.press("q")
        assert it.app.screen.query_one("#question", LinesView).outer_size.height == 9


async def test_save_and_quit_now() -> None:
    async with stage() as it:
        await it.press("q", "s")
        assert it.session.commands == [Stop()]
        it.session.is_alive = False
        assert await gone(it) == 0


async def test_finish_the_step_then_quit() -> None:
    script = ScriptedRun()
    async with stage(script=script) as it:
        await it.press("q", "f")
        assert it.session.commands == [StepOnce()]
        await wait_for(lambda: "finishing the step" in it.app.screen.query_one("#note", LinesView).plain)
        it.session.play(script.ready(Mode.PAUSED, "before step 40"))
        await wait_for(lambda: Stop() in it.session.commands)
        it.session.is_alive = False
        assert await gone(it) == 0


async def test_a_step_that_fails_while_it_is_waited_for_does_not_hold_the_app() -> None:
    async with stage() as it:
        await it.press("q", "f")
        it.session.play(failure())
        await wait_for(lambda: Stop() in it.session.commands)


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "SAVE_PATIENCE", 0.3)
    script = ScriptedRun()
    async with stage(paused_after(script, 1), script=script) as it:
        await it.press("q")
        assert await gone(it) == 0, "the engine never answered"


async def test_q_once_more_leaves_at_once() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 1), script=script) as it:
        await it.press("q", "q")
        assert await gone(it) == 0


async def test_control_c_twice_saves_and_quits() -> None:
    async with stage() as it:
        await it.press("ctrl+c")
        assert it.session.commands == []
        await it.press("ctrl+c")
        assert it.session.commands == [Stop()]
        it.session.is_alive = False
        assert await gone(it) == 130


async def test_a_failed_run_gives_status_one() -> None:
    async with stage() as it:
        await it.play(failure(can_retry=False), RunEnded(time=T0, reason="failed", finished_steps=0))
        it.session.is_alive = False
        await it.press("q")
        assert await gone(it) == 1


async def test_welcome_leaves_at_once() -> None:
    app = GrpoApp()
    async with app.run_test() as pilot:
        await pilot.press("q")
        await wait_for(lambda: app._exit)


async def test_a_signal_stops_the_engine_first() -> None:
    async with stage() as it:
        it.app.leaving.begin(143)
        assert it.session.commands == [Stop()]
        it.session.is_alive = False
        assert await gone(it) == 143
