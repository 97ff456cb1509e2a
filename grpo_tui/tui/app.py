"""The app: pumps events into the view, keeps the screens current, and turns keys into commands."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.events import Event, Key, MouseDown, MouseScrollDown, MouseScrollUp, Paste
from textual.screen import Screen
from textual.timer import Timer

from grpo_tui.config.schema import RunConfig
from grpo_tui.events.commands import Command, Pause, Request, Resume, Retry, StepOnce, StepPhase
from grpo_tui.events.records import Mode
from grpo_tui.preferences.values import Preferences
from grpo_tui.tui import travelling
from grpo_tui.tui.action import Action, bindings, key_of
from grpo_tui.tui.actions import (
    APP_ACTIONS,
    LOOK_ACTIONS,
    OUT_ACTIONS,
    RUN_ACTIONS,
    TRAVEL_ACTIONS,
    own_actions,
)
from grpo_tui.tui.capture import OutputCapture
from grpo_tui.tui.handing_out import HandingOut
from grpo_tui.tui.leaving import Leaving, Way
from grpo_tui.tui.loop_lag import LoopLag
from grpo_tui.tui.palette import palette_commands
from grpo_tui.tui.remembering import Remembering
from grpo_tui.tui.rhythm import TICK, Rhythm
from grpo_tui.tui.rooms import LIVE, ROOM_ACTIONS, ROOMS, open_room
from grpo_tui.tui.screens.looking import Looking
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.starting import (
    SessionFactory,
    Survey,
    find_runs,
    import_engine,
    left_run,
    live_session,
    prepare_run,
    survey_machine,
)
from grpo_tui.tui.travelling import Travelling

if TYPE_CHECKING:
    from grpo_tui.tui.screens.welcome import WelcomeScreen
    from grpo_tui.tui.session import Session
    from grpo_tui.tui.view import RunView

KEYS_SECONDS = 1.0
"""While training runs, the keys on offer follow it this often."""


class GrpoApp(App[int]):
    """One process, at most one run at a time."""

    TITLE = "grpo-tui"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(RUN_ACTIONS),
        *bindings(TRAVEL_ACTIONS),
        *bindings(ROOM_ACTIONS),
        *bindings(OUT_ACTIONS),
        *bindings(APP_ACTIONS),
    ]
    CSS = """
    Toast { max-width: 60; }
    """

    def __init__(
        self,
        *,
        config: RunConfig | None = None,
        runs_root: Path | None = None,
        preferences: Preferences | None = None,
        run_dir: Path | None = None,
        resume: Path | None = None,
        recording: Session | None = None,
        paused: bool = True,
        requests: Sequence[Request] = (),
        session_factory: SessionFactory = live_session,
        survey: Callable[[], Survey] = survey_machine,
        capture: OutputCapture | None = None,
        now: Callable[[], float] = time.time,
        warm_up: bool = False,
        spares_training: bool = False,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self._first = (config, run_dir, resume, paused)
        self._recording = recording
        self._first_requests = requests
        self.preferences = preferences or Preferences()
        self.runs_root = runs_root or self.preferences.runs
        self.session_factory = session_factory
        self._survey_machine = survey
        self._welcome: WelcomeScreen | None = None
        self.capture = capture
        self.now = now
        self.view: RunView | None = None
        self.run_dir: Path | None = None
        self.crash_text = ""
        self.first_paint = 0.0
        self._warm_up = warm_up
        self.leaving = Leaving(self)
        self.travelling = Travelling(self)
        self.remembering = Remembering(self)
        self.handing_out = HandingOut(self)
        self.rhythm = Rhythm(spares=spares_training)
        self._next_tick: Timer | None = None
        self._tick_at = 0.0
        self.lag = LoopLag()
        self._lag_shown = False
        self._keys: tuple[tuple[object, ...], tuple[object, ...]] = ((), ())
        self._keys_at = 0.0

    # --- start -------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Open the first room."""
        if self.capture is not None and self.capture.streams is not None:
            sys.stdout, sys.stderr = self.capture.streams
        self.remembering.begin()
        self._tick_in(TICK)
        self.open_first()
        self.call_after_refresh(self._painted)

    def on_unmount(self) -> None:
        """Let the loop end, and what was opened for reading go."""
        self.lag.stop()
        if self.view is not None:
            self.view.session.close()

    def action_toggle_lag(self) -> None:
        """Show in the header how late the event loop is, or no more."""
        self._lag_shown = not self._lag_shown
        if self._lag_shown:
            self.lag.start(asyncio.get_running_loop())
        else:
            self.lag.stop()
        self._show_lag()

    def _show_lag(self) -> None:
        if self.view is not None:
            self.view.debug = self.lag.text if self._lag_shown else ""

    def open_first(self) -> None:
        """Open the Welcome room, or the run that the command line named."""
        config, run_dir, resume, paused = self._first
        if self._recording is not None:
            self.open_session(self._recording, getattr(self._recording, "run_dir", None), paused=True)
        elif config is None and resume is None:
            self._open_welcome()
        else:
            self.start_run(config, run_dir=run_dir, resume=resume, paused=paused)
            if self.view is not None:
                for request in self._first_requests:
                    self.view.session.send(request)

    def _painted(self) -> None:
        self.first_paint = time.time()
        if self._warm_up and self.view is None:
            threading.Thread(target=import_engine, name="warm-up", daemon=True).start()

    def _open_welcome(self, left: Path | None = None) -> None:
        """Open Welcome; ``left`` is the run that one comes from."""
        from grpo_tui.tui.screens.welcome import WelcomeScreen

        self._welcome = WelcomeScreen()
        self.push_screen(self._welcome)
        self.call_after_refresh(self._look_at_disk, self._welcome, left)

    def _look_at_disk(self, welcome: WelcomeScreen, left: Path | None) -> None:
        """On threads, and after the first paint: they would share the interpreter with it."""

        def look_for_runs() -> None:
            run = left_run(left)
            if run is not None:
                welcome.tell(welcome.show_left, run)
            self._find_runs()

        for work in (look_for_runs, self._look_around):
            threading.Thread(target=work, name="looking", daemon=True).start()

    def _look_around(self) -> None:
        if self._welcome is not None:
            self._welcome.tell(self._welcome.show_survey, self._survey_machine())

    def _find_runs(self) -> None:
        if self._welcome is not None:
            self._welcome.tell(self._welcome.show_runs, find_runs(self.runs_root))

    def on_welcome_screen_start(self, message: Any) -> None:
        """Begin what was chosen on the Welcome screen."""
        if self.view is None:  # a second Enter may come before the first has opened its run
            self.start_run(message.config, resume=message.resume, paused=message.paused)

    def on_welcome_screen_view(self, message: Any) -> None:
        """Open a recording that was chosen on the Welcome screen."""
        from grpo_tui.tui.recorded_session import open_recording

        if self.view is not None:
            return
        try:
            recording = open_recording(message.path)
        except (OSError, ValueError) as error:
            self.notify(str(error), title="cannot open", severity="error", markup=False, timeout=15)
            return
        self.open_session(recording, message.path, paused=True)

    async def show_welcome(self, trouble: str = "") -> None:
        """Take the run down, whose engine has ended, and open Welcome.

        Args:
            trouble: what went wrong while it was left, to be told there.
        """
        if self.view is None:
            return
        view, left = self.view, self.run_dir
        # Nothing is drawn of it any more, but its screens may still ask the session until they are gone.
        self.view = self.run_dir = None
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        self.clear_notifications()
        if self.capture is not None:
            self.capture.end_run()
        self._keys = ((), ())
        await asyncio.to_thread(view.session.close)
        self._open_welcome(left)
        if trouble:
            self.notify(trouble, title="the run was left", severity="error", markup=False, timeout=15)

    def start_run(
        self,
        config: RunConfig | None,
        *,
        run_dir: Path | None = None,
        resume: Path | None = None,
        paused: bool,
    ) -> None:
        """Start or resume a run and open the Live room."""
        try:
            config, place = prepare_run(config, run_dir, resume, self.runs_root)
            session = self.session_factory(config, run_dir=place, resume=resume is not None, paused=paused)
        except (OSError, ValueError) as error:
            self.notify(str(error), title="cannot start", severity="error", markup=False, timeout=15)
            if not any(screen.id == "welcome" for screen in self.screen_stack):
                self._open_welcome()
            return
        self.open_session(session, place, paused=paused)

    def open_session(self, session: Session, run_dir: Path | None, *, paused: bool) -> None:
        """Show a session in the Live room."""
        from grpo_tui.tui.screens.live import LiveScreen
        from grpo_tui.tui.view import RunView

        self.run_dir = run_dir
        self.view = RunView(session, paused=paused, now=self.now)
        screen = LiveScreen(self.view)
        if len(self.screen_stack) > 1:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)
        session.start()
        self.refresh_bindings()

    # --- the tick ----------------------------------------------------------------------------------------

    def _tick_in(self, seconds: float) -> None:
        if self._next_tick is not None:
            self._next_tick.stop()
        self._tick_at = time.monotonic() + seconds
        self._next_tick = self.set_timer(seconds, self._tick)

    def _tick(self) -> None:
        more = self._look()
        view = self.view
        here = (
            view is not None and not view.session.read_only
        )  # who looks at another process's run spares nothing
        wait = self.rhythm.next_wait(trains=here and view is not None and view.state.mode is Mode.RUNNING)
        self._tick_in(0.01 if more else wait)

    def _look(self) -> bool:
        """Take over what the engine said, and show it; True where there is more of it."""
        view = self.view
        if view is None or not self.screen_stack:  # the last tick can come after the last screen
            return False
        self._take_output(view)
        more = view.pump()
        self._show_lag()
        self.sync()
        self.leaving.watch()
        return more

    async def on_event(self, event: Event) -> None:
        """Keep the usual rhythm while somebody is there."""
        if isinstance(event, (Key, MouseDown, MouseScrollDown, MouseScrollUp, Paste)):
            self.rhythm.touch()
            if self._tick_at > time.monotonic() + TICK:
                self._tick_in(TICK)
        await super().on_event(event)

    def sync(self) -> None:
        """Bring the screen on top, and the key bar, up to date."""
        view = self.view
        if view is None:
            return
        if view.refused:
            self.notify(view.refused, title="not done", severity="warning", markup=False, timeout=8)
            view.refused = ""
        screen = self.screen
        update = getattr(screen, "sync_view", None)
        # A screen that is being taken down is not displayed any more, and its widgets go before it does.
        if update is not None and screen.is_mounted and screen.display:
            update()
        self._refresh_keys(view)

    def _refresh_keys(self, view: RunView) -> None:
        """Offer the keys that do something now.

        What a person did is followed at once. What training changes, several times a step, waits while it runs: to ask
        every binding of every widget takes as long as to paint the screen.
        """
        by_person = (
            view.state.mode,
            view.watched,
            view.request,
            view.is_live,
            view.over,
            self._failure_shown(),
            view.state.branch,
            view.cursor.step,
            view.acts.version,
        )
        by_training = (
            bool(view.state.history),
            view.detail is not None and bool(view.detail.groups),
            view.state.last_step,
            view.acts.can_undo,
            view.acts.why_not,
        )
        now = time.monotonic()
        runs = view.state.mode is Mode.RUNNING and now - self._keys_at < KEYS_SECONDS
        if by_person != self._keys[0] or (by_training != self._keys[1] and not runs):
            self._keys, self._keys_at = (by_person, by_training), now
            self.refresh_bindings()

    def _take_output(self, view: RunView) -> None:
        if self.capture is None:
            return
        if view.state.run is not None and not view.session.read_only:
            self.capture.write_to(Path(view.state.run.run_dir) / "log")
        for text, replaces in self.capture.take():
            view.log_output(text, replaces=replaces)

    # --- commands to the engine --------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what can be done now: "pause" turns into "run", "retry" needs a failure."""
        if action == "go_to_welcome":
            return self.view is not None and not self.leaving.under_way
        if action == "go_room":
            return self.view is not None and self.screen.id not in parameters
        if action == "try_in_playground":
            return self.view is not None and self.view.group is not None and self.screen.id != "playground"
        if action in travelling.ACTIONS:
            # In Tune the same keys are of settings: with none to take back they must not take back a step.
            return self.screen.id != "tune" and self.travelling.offers(action)
        if action == "pin_probe":
            return self._can_ask() and self.view is not None and self.view.group is not None
        if action == "dispute":
            from grpo_tui.tui.screens.dispute import disputable

            return self._can_ask() and self.view is not None and disputable(self.view.completion)
        if action in ("copy_as", "export_step", "export_run"):
            return self.handing_out.offers(action)
        if action in ("pause", "resume", "step_once", "step_phase", "retry", "dismiss_failure"):
            view = self.view
            if view is None:
                return False
            failed = view.state.failure is not None and not view.over and not view.session.read_only
            if action == "retry":
                return failed and view.state.failure is not None and view.state.failure.can_retry
            if action == "dismiss_failure":
                return self._failure_shown()
            if view.over or view.session.read_only or view.state.failure is not None:
                return False
            if action in ("pause", "resume"):
                return view.wants_running == (action == "pause")
        return True

    def _failure_shown(self) -> bool:
        view = self.view
        return (
            view is not None and view.state.failure is not None and view.state.failure is not view.dismissed
        )

    def _ask(self, command: Command) -> None:
        if self.view is not None:
            self.view.ask(command)
            self.sync()

    def action_pause(self) -> None:
        """Pause at the next boundary."""
        self._ask(Pause())

    def action_resume(self) -> None:
        """Run on."""
        self._ask(Resume())

    def action_step_once(self) -> None:
        """One step."""
        self._ask(StepOnce())

    def action_step_phase(self) -> None:
        """One phase."""
        self._ask(StepPhase())

    def action_retry(self) -> None:
        """The failed step again."""
        self._ask(Retry())

    def action_dismiss_failure(self) -> None:
        """Put the error panel away."""
        if self.view is not None:
            self.view.dismissed = self.view.state.failure
            self.sync()

    def action_undo_step(self) -> None:
        """One step back."""
        self.travelling.undo()

    def action_redo_step(self) -> None:
        """One step forward again."""
        self.travelling.redo()

    def action_go_to_shown(self) -> None:
        """Back to the step that is looked at."""
        self.travelling.go_to_shown()

    def action_fork_run(self) -> None:
        """A branch from here."""
        self.travelling.fork()

    # --- other rooms -------------------------------------------------------------------------------------

    def action_go_room(self, id: str) -> None:
        """Open a room, in the place of the one that is open."""
        if self.view is None or self.screen.id == id:
            return
        if self._in_room_above():
            self.pop_screen()
            self.call_later(self.action_go_room, id)
            return
        in_room = isinstance(self.screen, RoomScreen)
        if next((room.above for room in ROOMS if room.id == id), False):
            self.push_screen(open_room(id, self.view))
            return
        if id == LIVE.id:
            if in_room:
                self.pop_screen()
        elif in_room:
            self.switch_screen(open_room(id, self.view))
        else:
            self.push_screen(open_room(id, self.view))

    def _in_room_above(self) -> bool:
        return any(room.above and room.id == self.screen.id for room in ROOMS)

    def action_try_in_playground(self) -> None:
        """Open the Playground with the selected problem in its form."""
        if self.view is None or self.view.group is None:
            return
        from grpo_tui.tui.playing import form_of

        form_of(self.view).take(self.view.group.problem)
        self.action_go_room("playground")

    def _can_ask(self) -> bool:
        view = self.view
        return view is not None and not view.session.read_only and not view.over

    def action_pin_probe(self) -> None:
        """Pin the selected prompt."""
        group = self.view.group if self.view is not None else None
        if self.view is None or group is None:
            return
        from grpo_tui.events.commands import PinProbe

        problem = group.problem
        if self.view.ask(PinProbe(question=problem.question, answer=problem.answer, problem_id=problem.id)):
            self.tell_asked("it is read around every update from now on; 9 shows it")

    def action_dispute(self) -> None:
        """Say that the verdict of the selected response is wrong."""
        view = self.view
        if view is None or view.group is None or view.completion is None:
            return
        from grpo_tui.tui.screens.dispute import DisputeScreen

        self.push_screen(DisputeScreen(view.shown_step, view.group, view.completion), self._disputed)

    def _disputed(self, request: Command | None) -> None:
        if request is not None and self.view is not None and self.view.ask(request):
            self.tell_asked("it becomes a case in disputes.jsonl; V lists it")
            self.sync()

    def tell_asked(self, said: str) -> None:
        """Say what a request will do, and where the engine is if it cannot be obeyed at once."""
        from grpo_tui.tui.asking import why_waiting

        waits = why_waiting(self.view.state) if self.view is not None else ""
        self.notify(said, title=waits if waits.startswith("waits") else "", markup=False, timeout=5)

    def action_show_help(self) -> None:
        """Open the help, about the focused panel first."""
        from grpo_tui.tui.panels.base import Panel
        from grpo_tui.tui.panels.timing import timing_lines
        from grpo_tui.tui.screens.help import HelpScreen

        focused = self.screen.focused
        about = getattr(focused, "HELP", "")
        title = (getattr(focused, "TITLE", "") or focused.id or "") if focused and about else ""
        id = focused.id or "" if isinstance(focused, Panel) else ""
        measured = timing_lines(self.view.metrics if self.view is not None else None)
        own = own_actions(type(self.screen))
        here = (*own, *LOOK_ACTIONS) if isinstance(self.screen, Looking) else own
        room = str(self.screen.id or "")
        self.push_screen(HelpScreen(title, about, id, measured, room=room, here=here))

    def key_text(self, action: Action) -> str:
        """The key of an action, as the person has it."""
        return key_of(action, self.remembering.keymap)

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        """Keys that clash were told when the preferences were read."""

    # --- things out --------------------------------------------------------------------------------------

    def send_to_terminal(self, sequence: str) -> None:
        """Write an escape sequence between two pictures, to the terminal itself: the capture holds 1 and 2."""
        if self._driver is not None:
            self._driver.write(sequence)

    def action_copy(self) -> None:
        """Copy what is looked at."""
        self.handing_out.copy()

    def action_copy_as(self) -> None:
        """Choose a form for the selected answer."""
        self.handing_out.choose()

    def action_save_screenshot(self) -> None:
        """The screen as SVG."""
        self.handing_out.screenshot()

    def action_export_step(self) -> None:
        """The step looked at as Parquet."""
        self.handing_out.export(whole=False)

    def action_export_run(self) -> None:
        """The whole run as Parquet."""
        self.handing_out.export(whole=True)

    def action_jump(self) -> None:
        """Letters on the panels; press one to go there."""
        from grpo_tui.tui.screens.jump import JumpScreen, targets

        found = targets(self.screen)
        if found:
            self.push_screen(JumpScreen(found), self._jumped)

    def _jumped(self, name: str | None) -> None:
        for widget in self.screen.focus_chain:
            if name is not None and widget.id == name:
                self.screen.set_focus(widget)

    def action_suspend(self) -> None:
        """To the shell and back; the training stands still meanwhile."""
        from grpo_tui.tui.suspending import suspend

        suspend(self)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action of the registry, and Textual's own choice of theme."""
        yield SystemCommand("Theme", "Change the colours.", self.action_change_theme)
        yield SystemCommand(
            "Debug: loop lag",
            "How late the screen is: p95 and worst of the last minute.",
            self.action_toggle_lag,
        )
        yield from palette_commands(self, screen)

    # --- leaving -----------------------------------------------------------------------------------------

    def action_leave(self) -> None:
        """Quit, or ask first while a step runs."""
        self.leaving.ask()

    def action_go_to_welcome(self) -> None:
        """Leave the run for Welcome, or ask first while it trains."""
        self.leaving.ask(Way.WELCOME)

    async def action_quit(self) -> None:
        """Textual's own way out takes ours."""
        self.leaving.ask()

    def action_leave_at_once(self) -> None:
        """Do not wait for the engine."""
        self.leaving.at_once()

    def action_interrupt(self) -> None:
        """ctrl+c: the second within two seconds saves and quits; one more leaves at once."""
        self.leaving.interrupt()

    def _fatal_error(self) -> None:
        """Keep a plain traceback, without locals: they hold prompts and tensors."""
        self.crash_text = traceback.format_exc()
        self._close_messages_no_wait()


def run_app(
    *,
    config: RunConfig | None,
    preferences: Preferences,
    run_dir: Path | None = None,
    resume: Path | None = None,
    recording: Session | None = None,
    paused: bool,
    requests: Sequence[Request] = (),
) -> int:
    """Run the app in this terminal; return the exit status."""
    from grpo_tui.tui.launch import launch

    return launch(
        config=config,
        preferences=preferences,
        run_dir=run_dir,
        resume=resume,
        recording=recording,
        paused=paused,
        requests=requests,
    )


def view_run(path: Path, preferences: Preferences) -> int:
    """Open the app on a recording; return the exit status.

    Raises:
        RunFileError: there is nothing at the path that can be read.
    """
    from grpo_tui.tui.recorded_session import open_recording

    recording = open_recording(path)
    try:
        return run_app(config=None, preferences=preferences, recording=recording, paused=True)
    finally:
        recording.close()
