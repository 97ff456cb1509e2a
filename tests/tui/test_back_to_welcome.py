"""From a run back to Welcome, and on to the next: nothing is lost, and nothing of the run before is left."""

from __future__ import annotations

import functools
import gc
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from textual.pilot import Pilot

from grpo_tui.config.emit import to_toml
from grpo_tui.config.schema import RunConfig
from grpo_tui.events.commands import StepOnce, Stop
from grpo_tui.events.records import Mode
from grpo_tui.events.types import Event, RunEnded
from grpo_tui.preferences.values import Preferences
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.capture import OutputCapture
from grpo_tui.tui.palette import palette_commands
from grpo_tui.tui.recorded_session import open_recording
from grpo_tui.tui.screens.leave import ClosingScreen, LeaveScreen
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.welcome import WelcomeScreen
from grpo_tui.tui.starting import Survey
from grpo_tui.tui.view import Cursor, RunView
from grpo_tui.tui.widgets.lines import LinesView
from tests.events.builders import run_events
from tests.support.apps import failure, mid_training, paused_after, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.support.scripted_session import ScriptedSession
from tests.tui.hostile import HOSTILE
from tests.tui.test_preferences import with_keys
from tests.tui.test_welcome import recorded

Script = Callable[[], Iterable[Event]]


def paused(steps: int) -> Script:
    """A run that waits between two steps."""
    return lambda: paused_after(ScriptedRun(), steps)


def training() -> Iterable[Event]:
    """A run in the middle of its 39th step."""
    return mid_training(ScriptedRun())


@dataclass
class Desk:
    """An app, and the sessions that were started from its Welcome."""

    app: GrpoApp
    pilot: Pilot[int]
    scripts: list[Script]
    sessions: list[ScriptedSession] = field(default_factory=list)
    starts: list[tuple[Path, bool]] = field(default_factory=list)

    @property
    def session(self) -> ScriptedSession:
        return self.sessions[-1]

    @property
    def view(self) -> RunView:
        assert self.app.view is not None
        return self.app.view

    def text(self, name: str) -> str:
        return self.app.screen.query_one(f"#{name}", LinesView).plain

    @property
    def welcome(self) -> WelcomeScreen:
        assert isinstance(self.app.screen, WelcomeScreen)
        return self.app.screen

    @property
    def runs(self) -> list[Path]:
        """The recent runs, as they are listed."""
        return [choice.run.path for _, choice in self.welcome._rows if choice and choice.run]

    @property
    def selected(self) -> Path | None:
        """The run that the cursor is on."""
        run = self.welcome._choice.run
        return run.path if run is not None else None

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)

    async def start(self, script: Script, *keys: str) -> ScriptedSession:
        """From Welcome, start or resume what is selected."""
        num = len(self.sessions)
        self.scripts.append(script)
        await self.press(*(keys or ("enter",)))
        await wait_for(lambda: len(self.sessions) == num + 1 and isinstance(self.app.screen, LiveScreen))
        await wait_for(lambda: self.session.waiting == 0)
        return self.session

    async def at_welcome(self) -> None:
        await wait_for(lambda: isinstance(self.app.screen, WelcomeScreen) and self.app.screen.is_mounted)
        await wait_for(lambda: "looking" not in self.text("choices"))

    async def go_back(self) -> None:
        """From a run that needs no question; its engine stops when it is told to."""
        await self.press("Q")
        if self.session.is_alive:
            await wait_for(lambda: Stop() in self.session.commands)
            self.session.is_alive = False
        await self.at_welcome()


@asynccontextmanager
async def desk(
    root: Path, *, preferences: Preferences | None = None, capture: OutputCapture | None = None
) -> AsyncIterator[Desk]:
    made: list[Desk] = []

    def start(config: RunConfig, *, run_dir: Path, resume: bool, paused: bool) -> ScriptedSession:
        it = made[0]
        if not resume:
            with RunWriter.create(run_dir, to_toml(config)) as writer:
                for event in run_events(2):
                    writer.write(event)
        session = ScriptedSession(it.scripts.pop()())
        it.sessions.append(session)
        it.starts.append((run_dir, resume))
        return session

    app = GrpoApp(
        runs_root=root,
        session_factory=start,
        survey=lambda: Survey(cores=2),
        preferences=preferences,
        capture=capture,
        now=lambda: T0 + 6.0,
    )
    async with app.run_test(size=(120, 40)) as pilot:
        it = Desk(app, pilot, [])
        made.append(it)
        await it.at_welcome()
        yield it


# --- the question and the wait -----------------------------------------------------------------------------


async def test_in_the_middle_of_a_step_it_asks_and_one_may_stay(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        session = await it.start(training)
        await it.press("Q")
        assert isinstance(it.app.screen, LeaveScreen)
        said = it.text("question")
        assert "save and go back now (the step in progress is lost)" in said
        assert "finish the step, save, and go back" in said
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)
        assert session.commands == []


async def test_stop_and_go_back_waits_for_the_engine_and_puts_the_run_on_top(tmp_path: Path) -> None:
    """However long it takes: the run is locked and its model in memory until then."""
    recorded(tmp_path, "zz-other")
    async with desk(tmp_path) as it:
        session = await it.start(training)
        await it.press("Q", "s")
        assert session.commands == [Stop()]
        assert isinstance(it.app.screen, ClosingScreen)
        await wait_for(lambda: "saving, then back to the runs" in it.text("note"))
        session.play(RunEnded(time=T0, reason="stopped", finished_steps=38))
        await wait_for(lambda: it.view.over)
        assert isinstance(it.app.screen, ClosingScreen), "its engine still saves"
        session.is_alive = False
        await it.at_welcome()
        left = it.starts[0][0]
        await wait_for(lambda: len(it.runs) > 1)  # the folder is still being read
        assert [run.name for run in it.runs] == [left.name, "zz-other"], "on top, and once"
        assert it.selected == left, "where one was"
        assert session.closed


async def test_finish_the_step_and_go_back(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        session = await it.start(training)
        await it.press("Q", "f")
        assert session.commands == [StepOnce()]
        session.play(ScriptedRun().ready(Mode.PAUSED, "before step 40"))
        await wait_for(lambda: Stop() in session.commands)
        session.is_alive = False
        await it.at_welcome()


async def test_paused_inside_a_step_it_asks_too_and_between_steps_it_does_not(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        script = ScriptedRun()
        await it.start(lambda: [*mid_training(script), script.ready(Mode.PAUSED, "before update")])
        await it.press("Q")
        assert isinstance(it.app.screen, LeaveScreen)
        await it.press("escape")
        it.session.is_alive = False
        await it.press("Q")
        await it.at_welcome()
        await it.start(paused(3))
        await it.go_back()


async def test_training_between_two_steps_is_asked_about_without_a_step_to_finish(tmp_path: Path) -> None:
    """An evaluation, say, belongs to no step."""
    async with desk(tmp_path) as it:
        script = ScriptedRun()
        session = await it.start(lambda: [*script.whole(2), script.ready(Mode.RUNNING, "")])
        assert it.view.state.current is None
        await it.press("Q")
        assert "finish" not in it.text("question")
        await it.press("f")
        assert isinstance(it.app.screen, LeaveScreen)
        await it.press("s")
        assert session.commands == [Stop()]


async def test_while_it_is_waited_for_one_can_still_quit(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.start(training)
        await it.press("Q", "s", "q")
        await wait_for(lambda: it.app._exit)


async def test_a_signal_while_going_back_quits_when_the_run_is_saved(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        session = await it.start(training)
        await it.press("Q", "s")
        it.app.leaving.begin(143)
        session.is_alive = False
        await wait_for(lambda: it.app._exit)
        assert it.app.return_value == 143


async def test_what_goes_wrong_while_it_stops_is_told_at_welcome(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        session = await it.start(paused(2))
        await it.press("Q")
        message = "cannot write [b]run.db: No space left on device"
        session.is_alive = False
        session.play(
            failure(can_retry=False, message=message), RunEnded(time=T0, reason="failed", finished_steps=2)
        )
        await it.at_welcome()
        await wait_for(lambda: [note.message for note in it.app._notifications] == [message])


async def test_an_error_that_was_seen_is_not_told_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.start(lambda: [*ScriptedRun().whole(2), failure()])
        await it.go_back()
        assert not it.app._notifications


async def test_a_run_whose_engine_is_gone_is_left_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        session = await it.start(lambda: [RunEnded(time=T0, reason="failed", finished_steps=0)])
        session.is_alive = False
        await it.press("Q")
        await it.at_welcome()
        assert session.commands == []


# --- where it is offered -----------------------------------------------------------------------------------


async def test_palette_help_and_a_key_of_ones_own_lead_there_too(tmp_path: Path) -> None:
    async with desk(tmp_path, preferences=with_keys({"app.welcome": "f9"})) as it:
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert not any("Leave the run" in title for title in titles), "there is no run to leave"
        await it.press("f9", "Q")
        assert isinstance(it.app.screen, WelcomeScreen)
        await it.start(paused(2))
        assert "Leave the run  (f9)" in [command.title for command in palette_commands(it.app, it.app.screen)]
        await it.press("question_mark")
        await wait_for(lambda: "Back to Welcome" in it.text("sheet"))
        await it.press("escape", "Q")
        assert isinstance(it.app.screen, LiveScreen), "the key was moved"
        it.session.is_alive = False
        await it.press("f9")
        await it.at_welcome()


async def test_from_a_room_and_a_dialog_s_room_below_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.start(paused(3))
        await it.press("4", "B")
        assert it.app.screen.id == "breakpoints"
        it.app.screen.set_focus(None)  # else the line takes the key, as it takes every letter
        await it.go_back()
        assert [screen.id for screen in it.app.screen_stack[1:]] == ["welcome"]


@pytest.mark.parametrize("launched", [True, False])
async def test_from_a_recording_whether_welcome_or_the_command_line_opened_it(
    launched: bool, tmp_path: Path
) -> None:
    """``grpo-tui view`` never had a Welcome; it can have one."""
    place = recorded(tmp_path, "seen")
    os.utime(place / "run.db", (1, 1))
    recorded(tmp_path, "newer")
    recording = open_recording(place) if launched else None
    app = GrpoApp(runs_root=tmp_path, recording=recording, survey=Survey)
    async with app.run_test(size=(120, 40)) as pilot:
        it = Desk(app, pilot, [])
        if not launched:
            await it.at_welcome()
            await it.press("right", "down")
            assert it.selected == place
            await it.press("v")
        await wait_for(lambda: app.view is not None and app.view.state.last_step == 2)
        assert it.view.session.read_only
        await it.press("Q")
        await it.at_welcome()
        assert it.selected == place
        assert it.runs[0] == place
        await wait_for(lambda: not [t for t in threading.enumerate() if t.name == "run-file"])
        await it.press("v")
        await wait_for(lambda: app.view is not None and app.view.state.last_step == 2)


# --- nothing of the run before -----------------------------------------------------------------------------


def census(app: GrpoApp) -> dict[str, object]:
    """What a run could leave behind in the app."""
    passing = ("looking", "asyncio_", "welcome", "remember")
    return {
        "screens": [screen.id for screen in app.screen_stack],
        "threads": sorted(t.name for t in threading.enumerate() if not t.name.startswith(passing)),
        "timers": len(app._timers),
        "subscriptions": sum(len(found) for found in app.theme_changed_signal._subscriptions.values()),
        "run": (app.view, app.run_dir),
        "notes": [note.message for note in app._notifications],
        "keys": app._keys,
    }


async def look_around(it: Desk) -> None:
    """Leave traces: a past step, a group, a sort, a filter, a note, a dialog; a zoom is kept on purpose."""
    await it.press("left_square_bracket", "left_square_bracket", "n", "j", "o", "z", "z", "x")
    await it.press("2", "3", "t", "right", "escape")
    await it.press("4", "f", *"len>1", "enter")
    await it.press("H", "6", "5", "8", "v", "m")
    it.app.notify("something of this run", markup=False, timeout=60)
    await it.press("question_mark")


def shows_steps(live: LiveScreen, num_steps: int) -> bool:
    return f"{num_steps}/" in live.query_one("#header", LinesView).plain


async def test_three_runs_after_each_other_leave_nothing_behind(tmp_path: Path) -> None:
    """Seen to fail with: the session not closed, a screen left below, the view kept by the app."""
    async with desk(tmp_path) as it:
        before = census(it.app)
        ghosts: list[weakref.ref[RunView]] = []
        for num_steps in (38, 5, 2):
            await it.press("home", "down")
            session = await it.start(paused(num_steps))
            assert it.view.cursor == Cursor()
            assert (it.view.sort, it.view.draft.edits) == ("signal", {})
            assert [metrics.step for metrics in it.view.state.history] == list(range(1, num_steps + 1))
            live = it.app.screen
            assert isinstance(live, LiveScreen)
            await wait_for(functools.partial(shows_steps, live, num_steps))
            assert (live.zoom, live.drill) == ("", "groups")
            ghosts.append(weakref.ref(it.view))
            await look_around(it)
            await it.press("escape", "escape", "escape")
            await it.go_back()
            assert session.closed
            await wait_for(lambda: census(it.app) == before)
            del live
        assert len({run_dir for run_dir, _ in it.starts}) == 3

        def gone() -> bool:
            gc.collect()
            return not any(ghost() is not None for ghost in ghosts)

        await wait_for(gone, 10)


async def test_the_run_that_was_left_is_resumed_from_its_row(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.start(paused(2))
        await it.go_back()
        await it.start(paused(2))
        assert it.starts[1] == (it.starts[0][0], True)
        await it.go_back()
        await it.press("home")
        await it.start(paused(1), "r")
        assert it.starts[2][0] != it.starts[0][0]
        assert not it.starts[2][1]


async def test_two_enters_start_one_run(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        it.scripts.append(paused(1))
        screen = it.app.screen
        assert isinstance(screen, WelcomeScreen)
        screen.action_start(True)
        screen.action_start(True)
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))
        await wait_for(lambda: it.session.waiting == 0)
        assert len(it.sessions) == 1
        assert [s.id for s in it.app.screen_stack[1:]] == ["live"]


async def test_a_run_that_is_left_ends_its_log_too(tmp_path: Path) -> None:
    """Seen to fail with: the first run's file kept open, into which the second run's output went."""
    ended: list[RunView | None] = []

    class Watched(OutputCapture):
        def end_run(self) -> None:
            ended.append(it.app.view)
            super().end_run()

    async with desk(tmp_path, capture=Watched()) as it:
        for num in (1, 2):
            await it.press("home")
            await it.start(paused(1))
            await it.go_back()
            assert ended == [None] * num, "when no tick can open it anew"


def test_the_log_file_is_let_go_and_the_next_run_has_its_own(tmp_path: Path) -> None:
    capture = OutputCapture()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        capture.write_to(tmp_path / name / "log")
        capture._line(f"printed in {name}", replaces=False, redrawn=False)
        capture.end_run()
    assert not capture.take()
    assert [(tmp_path / name / "log").read_text().count("printed in") for name in ("a", "b")] == [1, 1]
    assert "printed in b" in (tmp_path / "b" / "log").read_text()


@pytest.mark.parametrize("message", HOSTILE[:6])
async def test_hostile_trouble_is_told_as_it_is(message: str, tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.start(paused(1))
        it.session.is_alive = False
        await it.app.show_welcome(message)
        await it.at_welcome()
