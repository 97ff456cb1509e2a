"""Leaving the app: ask while a step runs, let the engine save, do not wait for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grpo_tui.events.commands import StepOnce, Stop

if TYPE_CHECKING:
    from grpo_tui.tui.app import GrpoApp

SAVE_PATIENCE = 20.0
"""Seconds to wait for the engine to save on leaving."""
LOADING_PATIENCE = 1.0
"""The same while it is still loading: there is nothing to save."""
TWICE = 2.0
"""Longest time between the two ctrl+c that quit."""


class Leaving:
    """The way out of one app. ``watch`` is called at every tick."""

    def __init__(self, app: GrpoApp) -> None:
        self._app = app
        self._until: float | None = None
        self._code = 0
        self._after_step = False
        self._interrupted_at = -TWICE

    def ask(self) -> None:
        """Quit, or ask first while a step runs."""
        view = self._app.view
        if view is None or view.over or not view.session.alive:
            self.at_once()
        elif view.state.mode == "running" and view.state.current is not None:
            from grpo_tui.tui.screens.leave import LeaveScreen

            self._app.push_screen(LeaveScreen(view.state.current.step), self._answered)
        else:
            self.begin()

    def _answered(self, answer: str | None) -> None:
        if answer == "now":
            self.begin()
        elif answer == "finish" and self._app.view is not None:
            self._after_step = True
            self._app.view.ask(StepOnce())
            self._open_note()

    def begin(self, code: int = 0) -> None:
        """Stop the engine, let it save, and leave when it has; not later than the patience allows."""
        view = self._app.view
        if view is None or not view.session.alive:
            self._code = code
            self.at_once()
            return
        if self._until is not None:
            return
        loading = view.state.mode == "loading"
        self._code, self._after_step = code, False
        view.ask(Stop())
        self._until = time.monotonic() + (LOADING_PATIENCE if loading else SAVE_PATIENCE)
        self._open_note()

    def interrupt(self) -> None:
        """The second ctrl+c within two seconds saves and quits; one more leaves at once."""
        if self._until is not None:
            self.at_once()
        elif time.monotonic() - self._interrupted_at < TWICE:
            self.begin(code=130)
        else:
            self._interrupted_at = time.monotonic()
            self._app.notify("press ctrl+c once more to save and quit", markup=False, timeout=TWICE)

    def at_once(self) -> None:
        """Leave without waiting."""
        view = self._app.view
        own = view is not None and not view.session.read_only
        ended = view.state.ended if view is not None and own else None
        failed = ended is not None and ended.reason == "failed"
        self._app.exit(self._code or int(failed))

    def watch(self) -> None:
        """Leave as soon as the engine is done, or when patience ends."""
        view = self._app.view
        if view is None:
            return
        if self._after_step:
            self._show(0.0)
            between = view.state.mode in ("paused", "failed") and view.request is None
            if between or view.over or not view.session.alive:
                self.begin(self._code)
        if self._until is not None:
            left = self._until - time.monotonic()
            self._show(left)
            if not view.session.alive or left <= 0:
                self.at_once()

    def _open_note(self) -> None:
        from grpo_tui.tui.screens.leave import ClosingScreen

        if not isinstance(self._app.screen, ClosingScreen):
            self._app.push_screen(ClosingScreen())

    def _show(self, left: float) -> None:
        from grpo_tui.tui.screens.leave import ClosingScreen

        if isinstance(self._app.screen, ClosingScreen):
            self._app.screen.show(left, after_step=self._after_step)
