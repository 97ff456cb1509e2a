"""The engine may fail; the app does not."""

from __future__ import annotations

from grpo_tui.events.commands import Retry
from grpo_tui.events.records import Mode
from tests.support.apps import failure, stage
from tests.support.builders import ScriptedRun


async def test_the_panel_says_what_happened_and_what_to_do() -> None:
    async with stage() as it:
        await it.play(failure())
        text = it.text("failure")
        assert "CUDA out of memory" in text
        assert "group_size smaller" in text
        assert "runs/tiny-arith/log" in text
        assert "OutOfMemoryError" in str(it.panel("failure").border_title)
        assert "✖ FAILED" in it.text("header")
        assert "Traceback" not in text


async def test_retry_is_sent_and_the_panel_goes_when_it_runs_again() -> None:
    script = ScriptedRun()
    async with stage(script=script) as it:
        await it.play(failure())
        assert "r retry" in it.keys
        await it.press("r")
        assert it.session.commands == [Retry()]
        assert "retrying…" in it.text("header")
        await it.play(script.ready(Mode.RUNNING, ""))
        assert not it.panel("failure").display
        assert "r retry" not in it.keys


async def test_dismissed_it_stays_away_but_can_still_be_retried() -> None:
    async with stage() as it:
        await it.play(failure())
        await it.press("x")
        assert not it.panel("failure").display
        await it.press("n", "enter")
        assert it.focused == "answers", "the app goes on working"
        await it.press("r")
        assert it.session.commands == [Retry()]


async def test_run_keys_do_nothing_while_failed() -> None:
    async with stage() as it:
        await it.play(failure())
        await it.press("space", "s", "full_stop")
        assert it.session.commands == []


async def test_an_error_before_training_cannot_be_retried() -> None:
    script = ScriptedRun()
    async with stage(script.loading()[:3], script=script) as it:
        await it.play(failure(step=0, can_retry=False, message="no such model: [bold]x"))
        assert it.panel("failure").display
        assert it.panel("loading").display
        assert "no such model: [bold]x" in it.text("failure")
        assert "retry the step" not in it.text("failure")
        await it.press("r")
        assert it.session.commands == []


async def test_the_traceback_is_in_the_log() -> None:
    async with stage() as it:
        await it.play(failure())
        await it.press("l")
        await it.settle()
        log = it.app.screen.query_one("#lines", type(it.app.screen.query_one("#lines")))
        assert 'File "engine.py", line 7' in getattr(log, "plain", "")
