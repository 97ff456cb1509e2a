"""A reward that fails: what it is called, how it is reported once, and the score that stands in for its own."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from rewards.base import Explanation, Score, Verdict

_LOG = logging.getLogger("rewards")
_SHOWN = 300
_MAX_DESCRIBED = 2_000
_MAX_TRACE = 20_000

CONTAINED = (Exception, SystemExit)
"""What code of the user's own may raise without ending the run."""

_Kind = tuple[str, str, str]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
_canary_reports: ContextVar[set[_Kind] | None] = ContextVar("canary_reports", default=None)


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
    Of one kind are failures with the same exception type raised at the same line.
    """

    def __init__(self) -> None:
        self._reported: set[_Kind] = set()

    def report(self, error: RewardError) -> Score:
        """Log ``error`` unless its like was logged before, and return the score that takes the missing one's place."""
        on_canary = _canary_reports.get()
        reported = self._reported if on_canary is None else on_canary
        kind = _kind(error)
        if kind not in reported:
            reported.add(kind)
            trace = _exc_info(error.__cause__)
            if on_canary is None:
                _LOG.error("%s; it is left out of the sum, and training goes on", error, exc_info=trace)
            else:
                _LOG.warning("%s; that was on a canary, not in training", error, exc_info=trace)
        return failed_score(error)


@contextmanager
def on_canaries() -> Iterator[None]:
    """Within: failures are reported as those of a canary, and their like is reported again when it strikes later."""
    token = _canary_reports.set(set())
    try:
        yield
    finally:
        _canary_reports.reset(token)


def failed_score(error: RewardError) -> Score:
    """No value, and the reason as its sentence."""
    reason = error.reason if len(error.reason) <= _SHOWN else f"{error.reason[:_SHOWN]}…"
    why = Explanation(sentence=f"{error.component} failed: {reason}", rule="reward failed")
    return Score(value=None, verdict=Verdict.NOT_JUDGED, explanation=why)


def describe(problem: BaseException) -> str:
    """Kind and message of an exception on one line, bounded, control characters blanked."""
    try:
        message = str(problem)
    except Exception:  # an exception of the user's own may not even have a message
        message = "(its message cannot be shown)"
    return " ".join(_blanked(f"{type(problem).__name__}: {message[:_MAX_DESCRIBED]}").split())


def _kind(error: RewardError) -> _Kind:
    cause = error.__cause__
    if cause is None:
        return error.component, error.reason, ""
    trace = cause.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return error.component, type(cause).__name__, place


def _exc_info(problem: BaseException | None) -> _ExcInfo | None:
    """What the logger prints as traceback; where the message is long or would steer a terminal, with a mended one."""
    if problem is None:
        return None
    text = "".join(traceback.format_exception(problem))
    if len(text) <= _MAX_TRACE and text.replace("\n", "").isprintable():
        return type(problem), problem, problem.__traceback__
    _name, _, message = describe(problem).partition(": ")
    namespace = {"__module__": type(problem).__module__}
    shown = type(type(problem).__name__, (Exception,), namespace)(message)
    return type(shown), shown, problem.__traceback__


def _blanked(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
