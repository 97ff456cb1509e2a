"""Panels about the run as a whole: events, loading stages, failure, the past-step banner, the smallest view."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.records import Mode
from grpo_tui.events.state import LogLine
from grpo_tui.events.types import LoadingStage
from grpo_tui.tui.glyphs import PHASE_SHORT, verdict_glyph
from grpo_tui.tui.group_facts import judging
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.phase_bar import mode_span, step_label
from grpo_tui.tui.text import Line, Span, clean, clip, clock, compact, duration, fit, line_width, wrapped
from grpo_tui.tui.view import RunView

LEVEL_ROLES = {"warning": "warn", "error": "bad"}


def log_row(line: LogLine, width: int) -> Line:
    """One line of the log, cut to the width."""
    lead = f"{clock(line.time)} {fit(clean(line.source), 10)} "
    message = clean(line.message.split("\n")[0])
    return ((lead, "dim"), (clip(message, max(0, width - len(lead))), LEVEL_ROLES.get(line.level, "")))


@lru_cache(maxsize=4096)
def log_rows(line: LogLine, width: int) -> tuple[Line, ...]:
    """One line of the log, wrapped."""
    lead = f"{clock(line.time)} {fit(clean(line.source), 10)} "
    first, *more = wrapped(line.message, max(10, width - len(lead)), LEVEL_ROLES.get(line.level, ""))
    return ((lead, "dim"), *first), *(((" " * len(lead), ""), *row) for row in more)


class EventsPanel(Panel, can_focus=True):
    """The newest lines of the log."""

    TITLE: ClassVar[str] = "Events"
    HELP: ClassVar[str] = "What happened, newest last; l opens the whole log with the libraries' output."

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The log."""
        return (view.state.log,)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """As many lines as fit."""
        width, height = size
        self.set_title("Events", "l whole log")
        return [log_row(line, width) for line in view.state.log[-max(1, height) :]], None


class LoadingPanel(Panel, can_focus=False):
    """The stages of loading: done, and in progress."""

    TITLE: ClassVar[str] = "Loading"

    def depends(self, view: RunView) -> tuple[object, ...]:
        """Stages, and the clock in steps of a tenth of a second."""
        moment = 0.0 if view.state.failure else round(view.now(), 1)
        return (view.state.loading, view.state.mode, view.request, moment)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One row for each stage with its seconds."""
        width = size.width
        failure = view.state.failure
        now = failure.time if failure is not None else view.now()
        stages = [(stage.time, _stage_name(stage)) for stage in view.state.loading]
        first = "reading the recording" if view.session.read_only else "starting the engine"
        stages = stages or [(view.started_at, first)]
        self.set_title("Loading")
        lines: list[Line] = [(("", ""),)]
        for (started, name), (ended, _) in pairwise([*stages, (now, "")]):
            current = ended == now and name == stages[-1][1]
            glyph, role = ("✓", "good") if not current else ("✖", "bad") if failure else ("▸", "accent bold")
            lines.append(
                (
                    (f"  {glyph} ", role),
                    (fit(name, min(44, width - 14)), "bold" if current else ""),
                    (fit(duration(max(0.0, ended - started)), 9, right=True), "dim"),
                )
            )
        if failure is None and view.session.read_only:
            lines += [(("", ""),), (("    no step is recorded yet", "dim"),)]
        elif failure is None:
            after = (
                "runs at once"
                if view.wants_running
                else "waits before step 1; Space runs, s steps, 0 probes first"
            )
            lines += [(("", ""),), ((f"    when ready, it {after}", "dim"),)]
        return lines, None


def _stage_name(stage: LoadingStage) -> str:
    return clean(stage.name) + (f"  {clean(stage.detail)}" if stage.detail else "")


class FailurePanel(Panel):
    """What went wrong in the engine, and what can be done. The app itself goes on working."""

    TITLE: ClassVar[str] = "The trainer stopped"
    HELP: ClassVar[str] = (
        "The error that stopped the engine: r retries the step, x dismisses this panel, l shows the traceback."
    )
    DEFAULT_CSS = """
    FailurePanel { border: heavy $error; border-title-color: $text-error; }
    FailurePanel:focus { border: heavy $error; border-title-color: $text-error; }
    """

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The failure."""
        return (view.state.failure, view.request)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Message, advice, where to read more, keys."""
        width, height = size
        failure = view.state.failure
        if failure is None:
            return [], None
        where = f" in step {failure.step}" if failure.step else ""
        self.set_title(f"✖ The trainer stopped{where}: {failure.kind}")
        *lines, keys = failure_lines(view, width)
        return [*lines[: max(1, height - 1)], keys], None


def failure_lines(view: RunView, width: int) -> list[Line]:
    """Message, advice, and last the keys."""
    failure = view.state.failure
    if failure is None:
        return []
    lines = wrapped(failure.message, width, "bad bold")[:3]
    if failure.advice:
        lines += wrapped(failure.advice, width)[:2]
    run = view.state.run
    log = f" traceback (also in {clean(run.run_dir)}/log)   " if run else " traceback   "
    retry = failure.can_retry and not view.session.read_only
    keys: list[Span] = [("r", "key"), (" retry the step   ", "")] if retry else []
    keys += [("x", "key"), (" dismiss   ", ""), ("q", "key"), (" quit   ", ""), ("l", "key"), (log, "")]
    return [*lines, tuple(keys)]


class Banner(Panel, can_focus=False):
    """Says that the past is on screen."""

    def depends(self, view: RunView) -> tuple[object, ...]:
        """Both steps, and whether groups were recorded."""
        return (view.cursor.step, view.training_step, view.grows, view.detail is None)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One line."""
        width = size.width
        missing = "   (its groups were not recorded)" if view.detail is None else ""
        now = f"training is at {view.training_step}" if view.grows else f"the last is {view.state.last_step}"
        text = f" ▲ viewing step {view.cursor.step}, {now}{missing}"
        back = " back to live " if view.grows else " to the last "
        keys: Line = (("[ ]", "key"), (" earlier, later   ", ""), ("L", "key"), (back, ""))
        if width >= 98 and not view.session.read_only and not view.over:
            keys = (("G", "key"), (" train from here   ", ""), *keys)
        return [((fit(text, max(0, width - line_width(keys))), "warn bold"), *keys)], None


class BriefPanel(Panel):
    """Everything, on a terminal too small for anything: phase, reward, last verdict."""

    HELP: ClassVar[str] = "The terminal is very small: enlarge it to see groups and responses."

    def depends(self, view: RunView) -> tuple[object, ...]:
        """Most of the state."""
        state = view.state
        return (
            state.mode,
            state.phase,
            view.request,
            state.history,
            view.completion,
            state.failure,
            state.loading,
            view.progress_text,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """A handful of short lines."""
        width, height = size
        state = view.state
        phase = f" {PHASE_SHORT[state.phase]}" if state.phase is not None else ""
        phase += f" {view.progress_text}" if view.progress_text else ""
        lines: list[Line] = [((step_label(view) + " ", "bold"), mode_span(view), (phase, "accent"))]
        if state.mode is Mode.LOADING and state.loading:
            lines.append(((clip(clean(state.loading[-1].name), width), ""),))
        if state.failure is not None:
            lines += wrapped(state.failure.message, width, "bad")[:3]
        if view.metrics is not None:
            lines.append(
                (
                    ("reward ", "dim"),
                    (compact(view.metrics.reward_mean), "bold"),
                    ("  kl_ref ", "dim"),
                    (compact(view.metrics.kl_ref), ""),
                )
            )
        completion = view.completion
        score = judging(completion) if completion is not None else None
        if completion is not None and score is not None:
            glyph, role = verdict_glyph(completion)
            lines += wrapped(f"{glyph} {score.explanation.sentence}", width, role)
        lines = lines[: max(1, height - 1)]
        if height > 2:
            lines += [(("", ""),)] * (height - 1 - len(lines))
            lines.append(
                (("q", "key"), (" quit", "dim"))
                if view.session.read_only
                else (
                    ("Space", "key"),
                    (" run/pause ", "dim"),
                    ("s", "key"),
                    (" step ", "dim"),
                    ("q", "key"),
                    (" quit", "dim"),
                )
            )
        return lines, None
