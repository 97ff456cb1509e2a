"""Acts by hand as the screens know them: what can be done now, what was asked and waits, and what still counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from grpo_tui.events.commands import (
    DrawMore,
    Exclude,
    ForkResponse,
    OverrideReward,
    OverrideVerdict,
    RemoveBreakpoint,
    Request,
    Reroll,
    SetBreakpoint,
    UndoAct,
)
from grpo_tui.events.records import Phase
from grpo_tui.events.types import (
    ActTaken,
    BreakpointsChanged,
    Event,
    PhaseStarted,
    RequestFailed,
    ResponseForked,
    RunEnded,
)

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView

ACTS: dict[str, type[Request]] = {
    "verdict": OverrideVerdict,
    "reward": OverrideReward,
    "exclude": Exclude,
    "include": Exclude,
    "reroll": Reroll,
    "draw more": DrawMore,
    "undo": UndoAct,
}
"""The request behind each ``ActTaken.act``."""
BREAKING = (SetBreakpoint, RemoveBreakpoint)
ASKED = (*ACTS.values(), ForkResponse, *BREAKING)

Place = tuple[int, int | None]
"""Group index, and completion index; None for the whole group."""


def standing(acts: Iterable[ActTaken], step: int) -> list[ActTaken]:
    """The acts on a step that were not taken back, oldest first."""
    kept: list[ActTaken] = []
    for act in acts:
        if act.step == step and act.act == "undo":
            del kept[-1:]
        elif act.step == step:
            kept.append(act)
    return kept


def steps_acted_on(acts: Iterable[ActTaken]) -> set[int]:
    """The steps on which an act still counts."""
    acts = tuple(acts)
    return {step for step in {act.step for act in acts} if standing(acts, step)}


def describe(request: Request) -> str:
    """What was asked for, in a few words."""
    match request:
        case OverrideVerdict():
            return f"{_at(request.group, request.completion)} verdict → {request.verdict}"
        case OverrideReward():
            return f"{_at(request.group, request.completion)} reward → {request.reward:g}"
        case Exclude():
            way = "keep out of the update" if request.excluded else "take in again"
            return f"{_at(request.group, request.completion)} {way}"
        case Reroll():
            return f"g{request.group + 1} draw anew"
        case DrawMore():
            return f"g{request.group + 1} {request.count} more responses"
        case UndoAct():
            return "take back the last act"
        case ForkResponse():
            return f"{_at(request.group, request.completion)} fork at token {request.token + 1}"
        case SetBreakpoint():
            return "set the breakpoint"
        case RemoveBreakpoint():
            return f"take breakpoint {request.id} away"
    return type(request).__name__


def _at(group: int, completion: int | None) -> str:
    return f"g{group + 1}" if completion is None else f"g{group + 1}·r{completion + 1}"


class Acts:
    """What a person changes of the step in progress."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self.asked: tuple[Request, ...] = ()
        """Sent and not answered yet, oldest first."""
        self.refused = ""
        """Why the last one was not carried out, or cannot be asked for; empty again once the run moves on."""
        self.version = 0
        """Raised with every change, so that a panel knows when to look again."""

    # --- what the engine says -----------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Learn from an event of the engine; most say nothing here."""
        if isinstance(event, ActTaken) and event.act in ACTS:
            self._answered(ACTS[event.act])
            self.refused = ""
        elif isinstance(event, ResponseForked):
            self._answered(ForkResponse)
        elif isinstance(event, BreakpointsChanged):
            self._answered(*BREAKING)
        elif isinstance(event, RequestFailed):
            kinds = tuple(kind for kind in ASKED if kind.__name__ == event.request)
            if kinds and self._answered(*kinds):
                self.refused = event.message
        elif isinstance(event, PhaseStarted) and self.refused:
            self.refused = ""
        elif isinstance(event, RunEnded):
            self.asked = ()
        else:
            return
        self.version += 1

    def _answered(self, *kinds: type[Request]) -> bool:
        for place, request in enumerate(self.asked):
            if isinstance(request, kinds):
                self.asked = (*self.asked[:place], *self.asked[place + 1 :])
                return True
        return False

    # --- what can be done -----------------------------------------------------------------------------------

    @property
    def why_not(self) -> str:
        """Why nothing of the step looked at can be changed now, and what to do about it; empty where it can."""
        view, state = self._view, self._view.state
        now = state.current
        if view.session.read_only:
            return "a recording cannot be changed"
        if view.over:
            return "the run has ended: resume it to act on a step"
        if state.failure is not None:
            return "the trainer stopped with an error: r takes the step again"
        if now is None:
            return "no step is in progress: . goes on phase by phase"
        if view.group is None or view.shown_step != now.step:
            return f"only step {now.step}, which is in progress, can be changed: L goes there"
        if state.phase in (Phase.UPDATE, Phase.EMIT):
            return f"the update of step {now.step} has begun: B sets a breakpoint for the next"
        judged = all(c.reward is not None for group in now.groups for c in group.completions)
        if Phase.SCORE not in state.phase_seconds or not judged:
            return "not all responses are drawn and judged yet: . goes on to the advantages"
        return ""

    @property
    def can_undo(self) -> bool:
        """Whether there is an act to take back."""
        now = self._view.state.current
        return not self.why_not and now is not None and bool(standing(self._view.state.acts, now.step))

    @property
    def why_no_fork(self) -> str:
        """Why the response looked at cannot be forked; empty where it can."""
        view = self._view
        if view.session.read_only:
            return "a fork needs a live run: a recorded one has no weights in memory"
        if view.over:
            return "the run has ended: resume it to sample on"
        if view.completion is None or not view.completion.num_tokens:
            return "no response with tokens is selected"
        return ""

    def ask(self, request: Request) -> bool:
        """Send a request and remember that it waits; False if the session takes none."""
        if not self._view.ask(request):
            return False
        self.asked, self.refused = (*self.asked, request), ""
        self.version += 1
        return True

    def complain(self, line: str) -> None:
        """Say why nothing was asked for."""
        self.refused = line
        self.version += 1

    # --- what was done --------------------------------------------------------------------------------------

    @property
    def standing(self) -> list[ActTaken]:
        """The acts on the step looked at that still count, oldest first."""
        return standing(self._view.state.acts, self._view.shown_step)

    @property
    def changed(self) -> set[Place]:
        """What of the step looked at they are about."""
        return {(act.group, act.completion) for act in self.standing}

    @property
    def waiting_text(self) -> str:
        """What was asked for and is not done yet; empty where nothing is."""
        if not self.asked:
            return ""
        more = f" (+{len(self.asked) - 1} more)" if len(self.asked) > 1 else ""
        when = "the engine is at it…" if self._view.served_now else "waits for the end of the phase…"
        return f"{describe(self.asked[0])}{more}: {when}"
