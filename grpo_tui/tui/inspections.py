"""Looks at single responses: what was asked of the engine, what it answered, and why there is nothing to show."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from grpo_tui.events.commands import InspectCompletion
from grpo_tui.events.records import CompletionRecord
from grpo_tui.events.types import CompletionInspected, Event, RequestFailed, RunEnded

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView

KEPT = 64

Place = tuple[int, int, int]
"""Step, group index, completion index."""


class Inspections:
    """Answers of the engine, by the response and the weights they are of."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._seen: OrderedDict[tuple[Place, int], CompletionInspected] = OrderedDict()
        self.pending: Place | None = None
        self._failed: tuple[Place, str] | None = None
        self.version = 0
        """Raised with every change, so that a panel knows when to look again."""

    # --- what the engine says -----------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Learn from an event of the engine; most say nothing here."""
        if isinstance(event, CompletionInspected):
            place = (event.step, event.group, event.completion)
            self._seen[place, event.finished_steps] = event
            self._seen.move_to_end((place, event.finished_steps))
            while len(self._seen) > KEPT:
                self._seen.popitem(last=False)
            if self.pending == place:
                self.pending = None
                # Else it would be asked for again and again.
                if self.place == place and self.current is None:
                    self._failed = (
                        place,
                        "the step was taken again since: this response is on record no more",
                    )
        elif isinstance(event, RequestFailed) and event.request == InspectCompletion.__name__:
            if self.pending is not None:
                self._failed = (self.pending, event.message)
            self.pending = None
        elif isinstance(event, RunEnded):
            self.pending = None
        else:
            return
        self.version += 1

    def of(self, place: Place, completion: CompletionRecord) -> CompletionInspected | None:
        """The most telling look at a response: by the weights right after its step, else by the latest.

        A look at other tokens under the same numbers (the step was taken again since) is none.
        """
        found = [
            seen
            for (where, _), seen in self._seen.items()
            if where == place and np.array_equal(seen.token_ids_T, completion.token_ids_T)
        ]
        return max(
            found, key=lambda seen: (seen.finished_steps == place[0], seen.finished_steps), default=None
        )

    # --- the answer looked at -----------------------------------------------------------------------------

    @property
    def place(self) -> Place | None:
        """The answer that the cursor is on."""
        group, completion = self._view.group, self._view.completion
        if group is None or completion is None:
            return None
        return (self._view.shown_step, group.index, completion.index)

    @property
    def current(self) -> CompletionInspected | None:
        """The engine's look at that answer, if it has been asked for one."""
        place, completion = self.place, self._view.completion
        return None if place is None or completion is None else self.of(place, completion)

    @property
    def possible(self) -> bool:
        """Whether there is an engine with weights to look with."""
        return self.place is not None and not self._view.session.read_only and not self._view.over

    @property
    def wanted(self) -> bool:
        """Whether a look would keep nobody waiting, and would show something new."""
        place, state = self.place, self._view.state
        if place is None or not self.possible or not self._view.served_now or self.pending is not None:
            return False
        if self._failed is not None and self._failed[0] == place:
            return False
        seen = self.current
        return seen is None or seen.finished_steps < place[0] <= state.last_step

    @property
    def why_not(self) -> str:
        """Why there is no look at the answer (yet), and what to do about it."""
        if self._view.session.read_only:
            return "this needs a live run: a recorded one has no weights in memory"
        if self._view.over:
            return "the run has ended: resume it to look with its weights"
        place = self.place
        if place is None:
            return "no response is selected"
        if self.pending is not None:
            return "asking the engine…" if self._view.served_now else "waiting for the end of the phase…"
        if self._failed is not None and self._failed[0] == place:
            return f"{self._failed[1]} · i asks again"
        return "i asks the engine to score it with its weights"

    def ask(self) -> bool:
        """Ask the engine to look at the answer; False if it cannot."""
        place = self.place
        if place is None or not self.possible:
            return False
        self.pending, self._failed = place, None
        self.version += 1
        self._view.session.send(InspectCompletion(*place))
        return True
