"""The same prompt's other groups in this run, read from the run file without holding up the screen."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from grpo_tui.events.records import ProblemRecord

if TYPE_CHECKING:
    from grpo_tui.runs.lines import Visit

KEPT = 64

Ask = Callable[[ProblemRecord], "Sequence[Visit]"]
"""Reads the groups of a prompt; may take its time, may raise what reading a run raises."""


class EarlierGroups:
    """Answers at once with what is known, and finds out the rest on a thread of its own."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: OrderedDict[tuple[str, str], tuple[int, tuple[Visit, ...]]] = OrderedDict()
        self._asking: tuple[str, str] | None = None
        self._age = 0
        self.version = 0
        """Raised when something was found out."""

    def of(self, problem: ProblemRecord, last_step: int) -> tuple[Visit, ...] | None:
        """Groups of the prompt up to some step, oldest first; None until they are known for the first time.

        Args:
            problem: whose prompt.
            last_step: the last finished step: what is known up to an earlier one is shown, and asked for anew.
        """
        key = (problem.id, problem.prompt)
        upto, groups = self._known.get(key, (-1, None))
        if upto != last_step and self._asking is None:
            self._asking = key
            threading.Thread(
                target=self._find,
                args=(problem, key, last_step, self._age),
                name="earlier-groups",
                daemon=True,
            ).start()
        return groups

    def forget(self) -> None:
        """Everything is to be found out anew: other steps may count now."""
        self._known.clear()
        self._age += 1
        self.version += 1

    def _find(self, problem: ProblemRecord, key: tuple[str, str], last_step: int, age: int) -> None:
        try:
            found = tuple(self._ask(problem))
        except (OSError, ValueError):  # a run file that cannot be read is told where it matters
            found = ()
        if age == self._age:  # else it is of what was forgotten meanwhile
            self._known[key] = (last_step, found)
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        self.version += 1
        self._asking = None
