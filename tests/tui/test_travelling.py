"""Going back and forth from the app: what is asked of the engine, and what the screen says of where the run stands."""

from __future__ import annotations

from grpo_tui.events.commands import Fork, GoTo, Pause, Redo, Undo
from grpo_tui.events.records import Mode
from grpo_tui.events.types import BranchStarted, RequestFailed, WentTo
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.travel import LeaveStepScreen
from grpo_tui.tui.widgets.lines import LinesView
from tests.support.apps import paused_after, stage
from tests.support.builders import T0, ScriptedRun

HASH = "0123456789abcdef" * 4


def went(step: int, branch: int = 0, how: str = "undo", from_step: int = 3) -> WentTo:
    return WentTo(time=T0, step=step, branch=branch, state_hash=HASH, how=how, from_step=from_step)


async def test_undo_and_redo_between_steps() -> None:
    # Seen to fail: the cached step shown after going back; redo offered with nothing to redo.
    script = ScriptedRun()
    async with stage(paused_after(script, 3), script=script) as it:
        assert not it.app.check_action("redo_step", ())
        await it.press("u")
        assert it.session.commands == [Pause(), Undo()]
        assert "going back…" in it.text("header")
        await it.play(went(2), script.ready(Mode.PAUSED, "before step 3"))
        header = it.text("header")
        assert "step 2/60" in header
        assert "main 0123456789ab" in header
        assert "paused before step 3" in header.lower()
        assert [m.step for m in it.view.state.history] == [1, 2]
        assert it.view.shown_step == 2
        assert it.app.check_action("redo_step", ())
        await it.press("U")
        assert it.session.commands[2:] == [Pause(), Redo()]
        await it.play(went(3, how="redo", from_step=2), script.ready(Mode.PAUSED, "before step 4"))
        assert [m.step for m in it.view.state.history] == [1, 2, 3]
        assert it.view.shown_step == 3
        assert not it.app.check_action("redo_step", ())


async def test_from_the_step_looked_at_and_on_a_branch() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 3), script=script) as it:
        assert not it.app.check_action("go_to_shown", ())
        await it.press("left_square_bracket", "left_square_bracket")
        assert it.view.cursor.step == 1
        assert "G train from here" in it.text("banner")
        await it.press("G")
        assert it.session.commands == [Pause(), GoTo(step=1)]
        await it.play(went(1, how="go to"), BranchStarted(time=T0, branch=1, parent=0, fork_step=1))
        assert it.view.is_live
        assert "branch 1 0123456789ab" in it.text("header")
        assert "go to: at the end of step 1 on main" in it.text("events")
        await it.press("F")
        assert it.session.commands[2:] == [Pause(), Fork()]


async def test_work_in_progress_is_not_left_without_a_question() -> None:
    async with stage() as it:
        await it.press("u")
        assert isinstance(it.app.screen, LeaveStepScreen)
        question = it.app.screen.query_one("#question", LinesView).plain
        assert "Its 8 groups are left" in question
        assert "go to the end of step 38" in question
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)
        assert it.session.commands == []
        await it.press("u", "enter")
        assert it.session.commands == [Pause(), GoTo(step=38)]


async def test_what_the_engine_refuses_is_told() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 3), script=script) as it:
        await it.press("u")
        await it.play(RequestFailed(time=T0, request="Undo", message="[b]the state was given up"))
        assert it.view.request is None
        [toast] = it.app._notifications
        assert toast.message == "[b]the state was given up"


async def test_a_recording_goes_nowhere() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 3), script=script, read_only=True) as it:
        await it.press("u", "U", "F", "left_square_bracket", "G")
        assert it.session.commands == []
        assert "train from here" not in it.text("banner")
