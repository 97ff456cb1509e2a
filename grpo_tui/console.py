"""The engine without a screen: a progress line on stderr, or one JSON object a step on stdout."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.advice import USER_ERRORS
from grpo_tui.engine.control import Control
from grpo_tui.engine.runner import run_session
from grpo_tui.events.breakpoints import Hit
from grpo_tui.events.commands import Request, Resume, Stop
from grpo_tui.events.records import EvalRecord, Mode, StepMetrics
from grpo_tui.events.types import (
    BreakpointHit,
    DataLoaded,
    EvalFinished,
    Event,
    LoadingStage,
    ModeChanged,
    ModelLoaded,
    Notice,
    ProfileSaved,
    Progress,
    RequestFailed,
    RunStarted,
    StepFinished,
    StepStarted,
    TrainerFailed,
    WentTo,
)
from grpo_tui.heap import keep_freed_memory
from grpo_tui.visible import clean

EXIT_FAILED, EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


def train(
    config: RunConfig, run_dir: Path, *, resume: bool, as_json: bool, requests: Sequence[Request] = ()
) -> int:
    """Run to the end, and give the exit code. Ctrl-C saves and stops; a second one stops at once.

    ``requests`` are carried out before the first step. At a breakpoint the run is saved and left: exit code 0. The step
    in progress is not kept; a resumed run takes it again with the same tokens, past what had stopped it.
    """
    keep_freed_memory()
    control = Control(start_paused=False)
    for request in requests:
        control.send(request)
    display = JsonDisplay(on_closed=lambda: control.send(Stop())) if as_json else LineDisplay()
    breaks = Breaks(control, hits_of_step_in_progress(run_dir) if resume else frozenset())

    def emit(event: Event) -> None:
        if isinstance(event, StepStarted) and not gc.get_freeze_count():
            # What is loaded stays: the garbage collector need not go through it again and again, for 0.2 s each time.
            gc.freeze()
        display.emit(event)
        breaks.take(event)

    with _signals(control) as received, display:
        ended = run_session(
            config,
            run_dir=run_dir,
            resume=resume,
            control=control,
            emit=emit,
            progress=display.progress,
            wait_on_failure=False,
            unattended=lambda: True,
        )
    if ended.reason == "failed":
        return EXIT_USER_ERROR if display.failed_with in USER_ERRORS else EXIT_FAILED
    if breaks.hit is not None:
        say(clean(str(breaks.hit)))
    say(f"run saved in {run_dir} after step {ended.finished_steps}")
    if breaks.hit is not None and not received:
        say(
            f"continue with: grpo-tui resume {run_dir} --headless, past it; without --headless, to look and change"
        )
        return 0
    if ended.reason == "stopped":
        say(f"continue with: grpo-tui resume {run_dir} --headless")
        return EXIT_TERMINATED if signal.SIGTERM in received else EXIT_INTERRUPTED
    return 0


class Breaks:
    """Leaves the run where a breakpoint stops it, but for those that have stopped this step before.

    Args:
        control: of the run.
        passed: (step, number of the breakpoint) that are gone past.
    """

    def __init__(self, control: Control, passed: frozenset[tuple[int, int]]) -> None:
        self._control, self._passed = control, passed
        self._passing = False
        self.hit: Hit | None = None
        """What the run was left for."""

    def take(self, event: Event) -> None:
        """See whether an event stops the run."""
        if isinstance(event, BreakpointHit):
            self._passing = (event.hit.step, event.hit.breakpoint.id) in self._passed
            if not self._passing:
                self.hit = event.hit
                self._control.send(Stop())
        elif isinstance(event, ModeChanged) and event.mode is Mode.PAUSED and self._passing:
            self._passing = False
            self._control.send(Resume())


def hits_of_step_in_progress(run_dir: Path) -> frozenset[tuple[int, int]]:
    """What had stopped the step that a run was left in: (step, number of the breakpoint)."""
    from grpo_tui.runs.reader import RunReader

    with RunReader(run_dir) as reader:
        step, events = reader.last_step() + 1, reader.events_of(RunStarted, WentTo, BreakpointHit)
    found: set[tuple[int, int]] = set()
    for event in events:
        if not isinstance(event, BreakpointHit):
            found.clear()
        elif event.hit.step == step:
            found.add((step, event.hit.breakpoint.id))
    return frozenset(found)


def say(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def _signals(control: Control) -> Iterator[list[int]]:
    """Within: the first SIGINT or SIGTERM asks the engine to stop, a second SIGINT interrupts it."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        control.send(Stop())

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Display:
    """What both displays share: warnings and errors on stderr."""

    failed_with = ""
    """Kind of the last error."""
    _last_error = ""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Leave the terminal clean."""

    def emit(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Notice) and event.level != "info":
            self.line(f"{event.level}: {event.source}: {event.message}")
            if event.detail:
                self.line(event.detail)
        elif isinstance(event, RequestFailed):
            self.line(f"warning: {event.message}")
        elif isinstance(event, ProfileSaved):
            self.line(f"step {event.step} profiled: {event.path}; open it at https://ui.perfetto.dev")
            self.line(event.table)
        elif isinstance(event, TrainerFailed):
            self.failed_with = event.kind
            # Saving at the end can meet the error that ended the run once more.
            if event.message == self._last_error:
                return
            self._last_error = event.message
            where = f"step {event.step}: " if event.step else ""
            self.line(f"grpo-tui: error: {where}{event.message}")
            if event.kind not in USER_ERRORS:
                self.line(f"  {event.advice}")

    def progress(self, progress: Progress) -> None:
        """Show a gauge."""

    def line(self, text: str) -> None:
        """Print one line."""
        say(text)


class JsonDisplay(Display):
    """One JSON object on stdout for each finished step and each evaluation.

    Args:
        on_closed: called when the reader of stdout is gone (``| head -5``), so that the run can stop and save.
    """

    def __init__(self, on_closed: Callable[[], None] = lambda: None) -> None:
        self._on_closed = on_closed

    def emit(self, event: Event) -> None:
        """Print steps and evaluations; warnings and errors go to stderr."""
        if isinstance(event, StepFinished):
            self._print(step_json(event.metrics))
        elif isinstance(event, EvalFinished):
            self._print(eval_json(event.result))
        else:
            super().emit(event)

    def _print(self, data: dict[str, Any]) -> None:
        try:
            sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes stdout once more at exit, and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.line("nobody reads stdout any more: stopping")
            self._on_closed()


def step_json(metrics: StepMetrics) -> dict[str, Any]:
    """A finished step as a JSON-ready object."""
    data: dict[str, Any] = _plain(metrics)
    return data


def eval_json(result: EvalRecord) -> dict[str, Any]:
    """An evaluation as a JSON-ready object."""
    data = dataclasses.asdict(result)
    return {"step": data.pop("step"), "eval": data}


def _plain(value: Any) -> Any:
    """JSON-ready, with None for numbers that JSON cannot hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class LineDisplay(Display):
    """A progress bar with the present phase, and one line for each finished step."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        # soft_wrap: a step's line stays one line where stderr is a file. No markup: text may come from a model.
        self._console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=self._console, transient=True, refresh_per_second=5)
        self._task = self._bar.add_task("loading", total=None, now="")
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            RunStarted: self._run_started,
            LoadingStage: self._loading,
            ModelLoaded: self._model,
            DataLoaded: self._data,
            StepStarted: self._step_started,
            StepFinished: self._step_finished,
            EvalFinished: self._eval_finished,
        }

    def __enter__(self) -> Display:
        # Where stderr is a file there is no bar: it would leave empty lines there.
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def line(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(text)

    def emit(self, event: Event) -> None:
        """Show an event."""
        handler = self._handlers.get(type(event))
        if handler:
            handler(event)
        else:
            super().emit(event)

    def progress(self, progress: Progress) -> None:
        """Show how far the present phase is."""
        speed = f" {progress.tokens_per_second:.0f} tok/s" if progress.tokens_per_second else ""
        self._bar.update(
            self._task, now=f"{progress.phase} {progress.done}/{progress.total} {progress.unit}{speed}"
        )

    def _run_started(self, event: RunStarted) -> None:
        self._bar.update(self._task, total=event.total_steps, completed=event.finished_steps)
        self.line(f"{event.name}: {event.total_steps} steps, in {event.run_dir}")

    def _loading(self, event: LoadingStage) -> None:
        self._bar.update(self._task, now=f"{event.name} {event.detail}")

    def _model(self, event: ModelLoaded) -> None:
        model = event.model
        self.line(
            f"{model.architecture} {model.num_parameters / 1e6:.1f} M parameters in {model.dtype} on {model.device}, "
            f"{model.num_trainable / 1e6:.2f} M trained"
        )

    def _data(self, event: DataLoaded) -> None:
        data = event.data
        self.line(f"{data.num_train} problems, {data.num_eval} held out, {len(data.rejected)} kept out")

    def _step_started(self, event: StepStarted) -> None:
        if event.step:
            self._bar.update(self._task, description=f"step {event.step}")

    def _step_finished(self, event: StepFinished) -> None:
        self._bar.update(self._task, completed=event.metrics.step)
        self.line(step_line(event.metrics))

    def _eval_finished(self, event: EvalFinished) -> None:
        result = event.result
        self.line(
            f"held-out after step {result.step}: accuracy {both_readings(result)} "
            f"(95 % {result.low:.3f} to {result.high:.3f}, n={result.num_problems})"
        )


def both_readings(measured: StepMetrics | EvalRecord) -> str:
    """The accuracy paid for, and the lenient one beside it where it differs."""
    strict, lenient = measured.accuracy, measured.accuracy_lenient
    return (
        f"{strict:.3f}" if lenient is None or lenient == strict else f"{strict:.3f} (lenient {lenient:.3f})"
    )


def step_line(metrics: StepMetrics) -> str:
    """A finished step on one line."""
    kl_ref = "–" if metrics.kl_ref is None else f"{metrics.kl_ref:.4f}"
    line = (
        f"step {metrics.step:>4}  reward {metrics.reward_mean:.3f}  accuracy {both_readings(metrics)}  kl_ref {kl_ref}  "
        f"entropy {metrics.entropy:.3f}  grad {metrics.grad_norm:.3f}  dead {metrics.num_degenerate_groups}  "
        f"{metrics.mean_length:.0f} tok  {metrics.tokens_per_second:.0f} tok/s  {metrics.seconds:.2f} s"
    )
    if "learned" in metrics.agreement:
        share = f"{metrics.agreement['learned']:.2f}".removeprefix("0")
        line = f"{line}  learned agrees {share} (n={metrics.num_agreement_pairs})"
    return f"{line}  no update: {metrics.update_skipped}" if metrics.update_skipped else line
