"""A reward that fails: what it is called, how it is reported once, and the score that stands in for its own."""

from __future__ import annotations

import logging

from rewards.base import Explanation, Score, Verdict

_LOG = logging.getLogger("rewards")
_SHOWN = 300


class RewardError(RuntimeError):
    """A reward raised or answered nonsense. Names the component and, where known, the problem."""

    def __init__(self, component: str, reason: str, problem_id: str = "") -> None:
        at = f" on problem {problem_id!r}" if problem_id else ""
        super().__init__(f"reward {component!r} failed{at}: {reason}")
        self.component = component
        self.reason = reason
        self.problem_id = problem_id


class FailureLog:
    """Reports each kind of failure of a component once, with its traceback, to the logger ``rewards``.

    Training goes on without that component's opinion, so a defect that strikes at every step must not fill the log.
    """

    def __init__(self) -> None:
        self._reported: set[tuple[str, str]] = set()

    def report(self, error: RewardError) -> Score:
        """Log ``error`` unless its like was logged before, and return the score that takes the missing one's place."""
        cause = error.__cause__
        kind = type(cause).__name__ if cause else error.reason
        if (error.component, kind) not in self._reported:
            self._reported.add((error.component, kind))
            trace = (type(cause), cause, cause.__traceback__) if cause else None
            _LOG.error("%s; it is left out of the sum, and training goes on", error, exc_info=trace)
        return failed_score(error)


def failed_score(error: RewardError) -> Score:
    """No value, and the reason as its sentence."""
    reason = error.reason if len(error.reason) <= _SHOWN else f"{error.reason[:_SHOWN]}…"
    why = Explanation(sentence=f"{error.component} failed: {reason}", rule="reward failed")
    return Score(value=None, verdict=Verdict.NOT_JUDGED, explanation=why)


def describe(problem: Exception) -> str:
    """Kind and message of an exception on one line."""
    return " ".join(f"{type(problem).__name__}: {problem}".split())
