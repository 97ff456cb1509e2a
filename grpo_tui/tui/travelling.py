"""Going back and forth in a run: what can be asked now, and the question where work in progress would be left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpo_tui.events.commands import Fork, GoTo, Pause, Redo, Request, Undo
from grpo_tui.events.lines import holder
from grpo_tui.events.records import Mode

if TYPE_CHECKING:
    from grpo_tui.tui.app import GrpoApp
    from grpo_tui.tui.view import RunView

ACTIONS = ("undo_step", "redo_step", "go_to_shown", "fork_run")


class Travelling:
    """The journeys of one app. The engine checks each; what it refuses is told as a toast."""

    def __init__(self, app: GrpoApp) -> None:
        self._app = app

    def offers(self, action: str) -> bool:
        """Whether an action leads somewhere now."""
        view = self._app.view
        if view is None or view.over or view.session.read_only or view.state.mode is Mode.LOADING:
            return False
        state = view.state
        if action == "undo_step":
            return state.last_step > 0 or state.current is not None
        if action == "redo_step":
            return can_redo(view)
        if action == "go_to_shown":
            return view.cursor.step is not None and view.cursor.step <= state.last_step
        return True

    def undo(self) -> None:
        """One step back; from the middle of a step, to its start."""
        self._go(Undo())

    def redo(self) -> None:
        """One step forward again."""
        self._go(Redo())

    def go_to_shown(self) -> None:
        """To the end of the step that is looked at."""
        view = self._app.view
        if view is not None and view.cursor.step is not None:
            self._go(GoTo(step=view.cursor.step))

    def fork(self) -> None:
        """A branch of its own from here."""
        self._go(Fork())

    def _go(self, request: Request) -> None:
        view = self._app.view
        if view is None:
            return
        current = view.state.current
        if current is not None and current.groups:
            from grpo_tui.tui.screens.travel import LeaveStepScreen

            if isinstance(request, Undo):
                # By its number: the step may finish while the question stands.
                request = GoTo(step=view.state.last_step)
            screen = LeaveStepScreen(current.step, len(current.groups), self._aim(view, request))
            self._app.push_screen(screen, lambda yes: self._send(request) if yes else None)
        else:
            self._send(request)

    def _aim(self, view: RunView, request: Request) -> str:
        """Where a request leads, in words."""
        last = view.state.last_step
        match request:
            case Redo():
                return f"the end of step {last + 1}"
            case GoTo(step=step):
                return f"the end of step {step}" if step else "the beginning"
            case _:
                return f"a branch of its own after step {last}"

    def _send(self, request: Request) -> None:
        view = self._app.view
        if view is not None:
            # Training must not run off again from there at once.
            view.ask(Pause())
            view.ask(request)
            self._app.sync()


def can_redo(view: RunView) -> bool:
    """Whether a step that was taken comes after the last one of the present line."""
    state = view.state
    after = state.last_step + 1
    return any(
        metrics.step == after and holder(state.tree, branch, state.last_step) == _here(view)
        for branch, left in state.left.items()
        for metrics in left.history
    )


def _here(view: RunView) -> int:
    return holder(view.state.tree, view.state.branch, view.state.last_step)
