"""Leaving the app, or a run for Welcome: ask while a step runs, let the engine save, do not wait for ever to quit.

Both ways stop the engine alike, so a run that was left for Welcome is as whole as one that was quit. They differ in
patience: quitting leaves a stuck engine behind with the process, but one that still holds its run and the memory of
its model cannot be left running behind another run, so going back waits for it.
"""

from __future__ import annotations

import math
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from grpo_tui.events.commands import StepOnce, Stop
from grpo_tui.events.records import Mode

if TYPE_CHECKING:
    from grpo_tui.events.types import TrainerFailed
    from grpo_tui.tui.app import GrpoApp
    from grpo_tui.tui.view import RunView

SAVE_PATIENCE = 20.0
"""Seconds to wait for the engine to save on leaving."""
LOADING_PATIENCE = 1.0
"""The same while it is still loading: there is nothing to save."""
TWICE = 2.0
"""Longest time between the two ctrl+c that quit."""


class Way(StrEnum):
    """Where one goes once the engine is done; the value says it in the question."""

    QUIT = "quit"
    WELCOME = "go back"


class Leaving:
    """The ways out of a run. ``watch`` is called at every tick."""

    def __init__(self, app: GrpoApp) -> None:
        self._app = app
        self._way = Way.QUIT
        self._until: float | None = None
        self._code = 0
        self._after_step = False
        self._failure_before: TrainerFailed | None = None
        self._interrupted_at = -TWICE

    @property
    def under_way(self) -> bool:
        """Whether somebody is leaving, and only the engine is waited for."""
        return self._after_step or self._until is not None

    def ask(self, way: Way = Way.QUIT) -> None:
        """Leave, or ask first while a step is under way."""
        view = self._app.view
        if view is None or not view.session.alive or (view.over and way is Way.QUIT):
            self._way = way
            self._leave()
        elif self._loses_work(view, way):
            from grpo_tui.tui.screens.leave import LeaveScreen

            current = view.state.current
            screen = LeaveScreen(
                current.step if current is not None else None,
                way,
                running=view.state.mode is Mode.RUNNING,
            )
            self._app.push_screen(screen, lambda answer: self._answered(way, answer))
        else:
            self.begin(way=way)

    def _loses_work(self, view: RunView, way: Way) -> bool:
        """Whether to ask first. Who quits means to; who only wants to look elsewhere is asked while anything is unfinished."""
        runs, within = view.state.mode is Mode.RUNNING, view.state.current is not None
        if way is Way.QUIT:
            return runs and within
        return not view.over and (runs or within)

    def _answered(self, way: Way, answer: str | None) -> None:
        if answer == "now":
            self.begin(way=way)
        elif answer == "finish" and self._app.view is not None:
            self._way, self._after_step = way, True
            self._app.view.ask(StepOnce())
            self._open_note()

    def begin(self, code: int = 0, way: Way = Way.QUIT) -> None:
        """Stop the engine, let it save, and leave when it has; to quit, not later than the patience allows."""
        view = self._app.view
        if view is None or not view.session.alive:
            self._way, self._code = way, code
            self._leave()
            return
        if self._until is not None and way is self._way:
            return
        self._way, self._code, self._after_step = way, code, False
        patience = LOADING_PATIENCE if view.state.mode is Mode.LOADING else SAVE_PATIENCE
        self._until = time.monotonic() + (patience if way is Way.QUIT else math.inf)
        self._failure_before = view.state.failure
        view.ask(Stop())
        self._open_note()

    def interrupt(self) -> None:
        """The second ctrl+c within two seconds saves and quits; one more leaves at once."""
        if self._until is not None and self._way is Way.QUIT:
            self.at_once()
        elif time.monotonic() - self._interrupted_at < TWICE:
            self.begin(code=130)
        else:
            self._interrupted_at = time.monotonic()
            self._app.notify("press ctrl+c once more to save and quit", markup=False, timeout=TWICE)

    def at_once(self) -> None:
        """Quit without waiting."""
        view = self._app.view
        own = view is not None and not view.session.read_only
        ended = view.state.ended if view is not None and own else None
        failed = ended is not None and ended.reason == "failed"
        self._app.exit(self._code or int(failed))

    def _leave(self) -> None:
        """The engine is done, or there is none."""
        if self._way is Way.QUIT:
            self.at_once()
            return
        trouble = self._trouble() if self._until is not None else ""
        self._until, self._after_step = None, False
        self._app.call_later(self._app.show_welcome, trouble)

    def _trouble(self) -> str:
        """What went wrong while the engine stopped, which its screens will not be there to tell; empty where nothing."""
        view = self._app.view
        if view is None:
            return ""
        while view.pump():  # the last words of a thread that has ended since the last tick
            pass
        failure = view.state.failure
        return failure.message if failure is not None and failure is not self._failure_before else ""

    def watch(self) -> None:
        """Leave as soon as the engine is done, or when patience ends."""
        view = self._app.view
        if view is None:
            return
        if self._after_step:
            self._show(0.0 if self._way is Way.QUIT else math.inf)
            between = view.state.mode in ("paused", "failed") and view.request is None
            if between or view.over or not view.session.alive:
                self.begin(self._code, self._way)
        if self._until is not None:
            left = self._until - time.monotonic()
            self._show(left)
            if not view.session.alive or left <= 0:
                self._leave()

    def _open_note(self) -> None:
        from grpo_tui.tui.screens.leave import ClosingScreen

        if not isinstance(self._app.screen, ClosingScreen):
            self._app.push_screen(ClosingScreen())

    def _show(self, left: float) -> None:
        from grpo_tui.tui.screens.leave import ClosingScreen

        if isinstance(self._app.screen, ClosingScreen):
            view = self._app.view
            loading = view is not None and view.state.mode is Mode.LOADING
            self._app.screen.show(left, after_step=self._after_step, loading=loading)
