"""What the engine was asked for from a room, and what became of it. No widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpo_tui.events.commands import Request
from grpo_tui.events.records import Mode
from grpo_tui.events.state import RunState
from grpo_tui.events.types import RequestFailed, SettingsChanged
from grpo_tui.tui.text import Line, clean

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView


class Asking:
    """One request at a time. ``told`` is the last answer, until it is forgotten."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self.told: Line = ()
        self._request: Request | None = None
        self._changes: tuple[SettingsChanged, ...] = ()
        self._failed: RequestFailed | None = None

    @property
    def waits(self) -> bool:
        """Whether the engine has yet to answer."""
        return self._request is not None

    def send(self, request: Request) -> None:
        """Ask, and remember how things stood."""
        if self.view.ask(request):
            self._request, self.told = request, ()
            self._changes, self._failed = self.view.state.settings_changes, self.view.request_failed

    def look(self) -> None:
        """See whether the engine has answered."""
        if self._request is None:
            return
        changes, failed = self.view.state.settings_changes, self.view.request_failed
        known = {id(change) for change in self._changes}
        if changes and id(changes[-1]) not in known:  # going back takes some away: those are no answer
            self.told = (done(changes[-1]),)
        elif (
            failed is not None
            and failed is not self._failed
            and failed.request == type(self._request).__name__
        ):
            self.told = ((f"✗ not changed: {clean(failed.message)}", "bad"),)
        elif self.view.over:
            self.told = (("✗ not changed: the run ended first", "bad"),)
        else:
            return
        self._request = None


def done(event: SettingsChanged) -> tuple[str, str]:
    """A change that was made, in one line."""
    verb = "taken back" if event.undoes else "applied"
    return f"✓ {verb}, from step {event.step}: {listed(event)}", "good"


def listed(event: SettingsChanged, *, back: bool = False) -> str:
    """What a change changes, or would where it is taken back."""
    pairs = ((c.key, c.new, c.old) if back else (c.key, c.old, c.new) for c in event.changes)
    return " · ".join(f"{key.rpartition('.')[2]} {clean(old)} → {clean(new)}" for key, old, new in pairs)


def why_waiting(state: RunState) -> str:
    """Where the engine is, and so when what was asked for begins; one line."""
    if state.mode is Mode.LOADING:
        return "waits until the run is loaded"
    if state.mode is Mode.FAILED:
        return "waits: the engine stopped at an error; r retries the step"
    if state.mode is Mode.PAUSED:
        if state.mode_detail.startswith("in "):
            return f"waits: paused {state.mode_detail}; . runs to the end of the phase"
        return "begins at once"
    return (
        f"waits for the end of the phase{f' {state.phase}' if state.phase else ''}; training goes on after it"
    )


def waiting_text(state: RunState) -> str:
    """Where the engine stands, and when it will look at what was asked."""
    if state.mode is Mode.FAILED:
        return "waiting until the step is taken again (r)"
    if state.mode is Mode.PAUSED and state.mode_detail.startswith("in "):
        return f"waiting for the end of the phase: paused {clean(state.mode_detail)}; Space or . runs on"
    if state.mode is Mode.RUNNING and state.phase is not None:
        return f"waiting for the end of the phase ({state.phase})…"
    return "waiting for the engine…"
