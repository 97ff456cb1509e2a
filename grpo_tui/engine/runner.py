"""A whole run on one thread: load, step until done, survive errors, save, end. Torch is imported inside.

The caller gives a :class:`~grpo_tui.engine.control.Control` and two functions: ``emit`` for events, which must
take each, and ``progress`` for gauges, of which only the last matters.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from grpo_tui.config.emit import to_toml
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.validate import notes_for, warnings_for
from grpo_tui.engine.advice import advice_for, one_line
from grpo_tui.engine.control import Control, Gate, StepLeft, StopRequested
from grpo_tui.engine.paths import anchored
from grpo_tui.engine.requests import obey
from grpo_tui.engine.tuning import replay_changes, replayed
from grpo_tui.engine.watching import Watch
from grpo_tui.events.records import GroupRecord, Mode
from grpo_tui.events.types import (
    BranchStarted,
    BreakpointsChanged,
    CheckpointSaved,
    Event,
    LoadingStage,
    ModeChanged,
    Notice,
    OrderChanged,
    ProbePinned,
    ProbeUnpinned,
    Progress,
    RunEnded,
    RunStarted,
    SettingsChanged,
    TrainerFailed,
    WentTo,
)
from grpo_tui.runs.checkpoints import complete
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import CHECKPOINTS, HISTORY, RunFileError
from grpo_tui.runs.states import Newest, newest_state
from grpo_tui.runs.writer import RunWriter

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer


def run_session(
    config: RunConfig,
    *,
    run_dir: Path,
    resume: bool,
    control: Control,
    emit: Callable[[Event], None],
    progress: Callable[[Progress], None] = lambda _progress: None,
    watch: Watch | None = None,
    wait_on_failure: bool = True,
    unattended: Callable[[], bool] | None = None,
) -> RunEnded:
    """Run or resume, to the end or until stopped. Raises nothing: errors become events.

    Args:
        config: what to do. For a resumed run, what it began with, from its folder; settings that were changed while
            it ran are laid over it.
        run_dir: the run's folder; made when not resuming.
        resume: go on from the newest checkpoint.
        control: commands from outside.
        emit: takes every event, on this thread.
        progress: takes gauges, on this thread.
        watch: which group someone watches being sampled, and where they see it.
        wait_on_failure: after an error wait for Retry or Stop; else end the run.
        unattended: whether nobody will look into the next step before its update, so that it may be drawn ahead where
            ``sampling.ahead`` says so; None: somebody may, in every step.
    """
    session = _Session(config, run_dir, resume, control, emit, progress, watch, wait_on_failure, unattended)
    return session.run()


class _Session:
    """The state of :func:`run_session`, so that its parts read in one go."""

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        resume: bool,
        control: Control,
        emit: Callable[[Event], None],
        progress: Callable[[Progress], None],
        watch: Watch | None,
        wait_on_failure: bool,
        unattended: Callable[[], bool] | None = None,
    ) -> None:
        # A resumed run's config was anchored when the run was made.
        self.config = config if resume else anchored(config)
        self.run_dir = run_dir
        self.resume = resume
        self.control = control
        self.outside = emit
        self.progress = progress
        self.watch = watch or Watch()
        self.wait_on_failure = wait_on_failure
        self.unattended = unattended
        self.writer: RunWriter | None = None
        self.trainer: Trainer | None = None
        self.saved_step: int | None = None
        self.kept_step: int | None = None
        """A step that needs no checkpoint to be gone on from: its state is kept."""
        self.evaluated_step: int | None = None
        self.gate = Gate(control, self.emit)
        self.cleanup = contextlib.ExitStack()
        self.first_step = 0
        self.changes: tuple[SettingsChanged, ...] = ()

    def emit(self, event: Event) -> None:
        """To the screen first, which must show it even if the disk refuses; then to the run file.

        A journey is written first: the screen will read the steps of its line.
        """
        first, then = self.outside, self.write
        if isinstance(event, WentTo | BranchStarted):
            first, then = then, first
        try:
            first(event)
        finally:
            then(event)

    def write(self, event: Event) -> None:
        """To the run file, if there is one yet; its time is kept apart."""
        if self.writer is None:
            return
        started = time.perf_counter()
        try:
            self.writer.write(event)
            if isinstance(event, SettingsChanged):
                self.writer.write_config_now(event.config_toml)
        finally:
            if self.trainer is not None:
                self.trainer.tally.run_file_seconds += time.perf_counter() - started

    def run(self) -> RunEnded:
        """The whole session."""
        with self.cleanup:
            self.cleanup.callback(self.close_writer)
            try:
                trainer = self.start()
            except StopRequested:
                return self.end("stopped", self.first_step)
            except Exception as error:
                self.tell_failure(error, step=0, can_retry=False)
                return self.end("failed", self.first_step)
            self.cleanup.callback(trainer.close)
            reason = self.save_at_end(trainer, self.train(trainer))
            return self.end(reason, trainer.finished_steps)

    # --- beginning ---------------------------------------------------------------------------------------
    def start(self) -> Trainer:
        """Open the run file, load everything, restore the checkpoint when resuming."""
        newest = newest_state(self.run_dir) if self.resume else Newest(0, None)
        self.first_step = newest.step
        if self.resume:
            self.writer = RunWriter.open(self.run_dir, truncate_after=self.first_step)
            self.evaluated_step = self.evaluated(self.first_step)
            with RunReader(self.run_dir) as reader:
                changes = reader.settings_changes()
            self.changes = tuple(c for c in changes if c.finished_steps <= self.first_step)
        else:
            self.writer = RunWriter.create(self.run_dir, to_toml(self.config))
        config = replayed(self.config, self.changes)
        self.emit(
            RunStarted(
                time=time.time(),
                run_dir=str(self.run_dir),
                name=config.run.name or self.run_dir.name,
                total_steps=config.run.steps,
                finished_steps=self.first_step,
                config_toml=to_toml(config),
                branch=self.writer.branch,
            )
        )
        for line in warnings_for(config):
            self.emit(Notice(time=time.time(), level="warning", message=line, source="config"))
        for line in notes_for(config):
            self.emit(Notice(time=time.time(), level="info", message=line, source="config"))
        self.emit(LoadingStage(time=time.time(), name="importing torch", detail="and transformers, peft"))
        trainer = self.load()
        try:
            self.restore(trainer, newest)
        except BaseException:
            trainer.close()
            raise
        return trainer

    def restore(self, trainer: Trainer, newest: Newest) -> None:
        """Put the trainer where the run stood, and let it know the run's branches and kept states."""
        trainer.history.began_with = trainer.config
        # Loaded as it began, then changed as it was changed: problems and reward are those of a run never left.
        replay_changes(trainer, self.changes, self.first_step)
        from grpo_tui.engine.checkpoint import load_checkpoint
        from grpo_tui.engine.probes import take_up
        from grpo_tui.engine.snapshots import load_state, restore

        if newest.path is not None:
            kind = "checkpoint" if newest.is_checkpoint else "state"
            self.emit(LoadingStage(time=time.time(), name=f"restoring {kind}", detail=newest.path.name))
            if newest.is_checkpoint:
                load_checkpoint(trainer, newest.path)
                self.saved_step = trainer.finished_steps
            else:
                restore(trainer, load_state(newest.path))
                self.kept_step = trainer.finished_steps
        if self.resume and self.writer is not None:
            with RunReader(self.run_dir) as reader:
                branches = [(branch.record, branch.last_step) for branch in reader.branches()]
                changes = reader.all_settings_changes()
                told = reader.last_event(BreakpointsChanged)
                trainer.order_changes = [
                    event for event in reader.events_of(OrderChanged) if isinstance(event, OrderChanged)
                ]
                pinned = reader.events_of(ProbePinned, ProbeUnpinned)
            trainer.history.adopt(branches, self.writer.branch, changes)
            trainer.breaker.breakpoints = list(told.breakpoints) if told is not None else []
            take_up(trainer, pinned)
        trainer.history.keep_in(self.run_dir / HISTORY)

    def evaluated(self, step: int) -> int | None:
        """The step, if the present line was evaluated after it."""
        with RunReader(self.run_dir) as reader:
            return step if any(result.step == step for result in reader.evals()) else None

    def load(self) -> Trainer:
        """Import the engine's heavy half and build the trainer."""
        from grpo_tui.engine.libraries import libraries_to_notices
        from grpo_tui.engine.trainer import Trainer

        if self.control.stop_requested:
            raise StopRequested
        self.cleanup.enter_context(libraries_to_notices(self.emit_if_possible))
        trainer = Trainer.load(self.config, emit=self.emit, report=self.progress)
        trainer.watch = self.watch
        if self.unattended is not None:
            trainer.ahead.is_unattended = self.unattended
        elif trainer.ahead.is_possible:
            message = (
                "sampling.ahead is not followed here, where a step can be looked at and changed before its update: each is "
                "drawn on-policy; grpo-tui train and grpo-tui resume --headless follow it"
            )
            self.emit(Notice(time=time.time(), level="info", message=message, source="sampler"))
        return trainer

    # --- middle ------------------------------------------------------------------------------------------
    def train(self, trainer: Trainer) -> str:
        """Step until the run is done; give the reason it ended."""
        from grpo_tui.engine.history import WentElsewhere

        self.trainer = trainer
        self.gate.obey = lambda request: obey(trainer, request, self.gate.place)
        trainer.recall = self.recall
        trainer.tuning.begun = lambda: self.gate.seconds_by_phase.keys()
        trainer.tuning.save = lambda: self.save_if_new(trainer)
        self.gate.breaks = lambda step, phase, after: bool(
            trainer.breaker.meets(trainer, step, phase, after=after)
        )
        trainer.heed = self.gate.heed
        trainer.checkpoints_dir = self.run_dir / CHECKPOINTS
        trainer.run_dir = self.run_dir
        # If the disk refuses it, advance() runs into that again and says so.
        self.emit_if_possible(ModeChanged(time=time.time(), mode=Mode.RUNNING))
        left = False
        while True:
            try:
                if left:
                    left = False
                    self.gate.serve_left()
                if not self.advance(trainer):
                    return "finished"
            except StopRequested:
                return "stopped"
            except StepLeft:
                left = True
            except WentElsewhere:
                self.arrived(trainer.finished_steps)
            except Exception as error:
                self.control.hold_for_failure()
                self.tell_failure(error, step=trainer.finished_steps + 1, can_retry=self.wait_on_failure)
                if not self.wait_on_failure:
                    return "failed"
                try:
                    self.control.wait_after_failure()
                    self.emit_if_possible(ModeChanged(time=time.time(), mode=Mode.RUNNING))
                except StopRequested:
                    return "stopped"

    def advance(self, trainer: Trainer) -> bool:
        """Evaluate if due, then one step; False when the run is done."""
        from grpo_tui.engine.evaluate import evaluate, is_due
        from grpo_tui.engine.step import run_step

        if self.writer is not None:
            self.writer.flush()
        done = trainer.finished_steps
        self.gate.stand_before(done + 1)
        every = trainer.config.run.checkpoint_every
        if done > 0 and done not in (self.saved_step, self.kept_step) and done % every == 0:
            self.save(trainer)
        if is_due(trainer) and self.evaluated_step != done:
            if done == 0:
                self.gate.between_steps(1)
            evaluate(trainer, self.gate)
            self.evaluated_step = done
        if trainer.is_done:
            self.gate.at_end(done)
            return not self.is_over(trainer)
        self.gate.between_steps(done + 1)
        run_step(trainer, self.gate)
        self.emit(trainer.history.kept(trainer.finished_steps))
        self.gate.after_step()
        return True

    def is_over(self, trainer: Trainer) -> bool:
        """Whether the run is done still, after what was asked of it at its end; says so where it ends early."""
        done, run = trainer.finished_steps, trainer.config.run
        if trainer.is_done and done < run.steps:
            message = (
                f"the run has sampled {trainer.num_sampled_tokens:,} of run.max_tokens {run.max_tokens:,}"
            )
            self.emit(Notice(time=time.time(), level="info", message=message, source="run"))
        return trainer.is_done

    def arrived(self, step: int) -> None:
        """The run stands at the end of another step: what is on disk and what was measured there holds again."""
        self.kept_step = step
        self.saved_step = step if step in complete(self.run_dir / CHECKPOINTS) else None
        self.evaluated_step = self.evaluated(step)

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint."""
        from grpo_tui.engine.checkpoint import save_checkpoint

        if self.writer is not None:
            # The file must have the step before a checkpoint of it: resuming starts after the newest checkpoint.
            self.writer.flush()
        path, num_bytes = save_checkpoint(trainer, self.run_dir / CHECKPOINTS)
        self.saved_step = trainer.finished_steps
        self.emit(
            CheckpointSaved(
                time=time.time(), step=trainer.finished_steps, path=str(path), num_bytes=num_bytes
            )
        )

    def save_if_new(self, trainer: Trainer) -> None:
        """Write a checkpoint unless the newest is of this state already."""
        if trainer.finished_steps != self.saved_step:
            self.save(trainer)

    # --- end ---------------------------------------------------------------------------------------------
    def save_at_end(self, trainer: Trainer, reason: str) -> str:
        """Save unless the newest checkpoint is this state; an error here turns the ending into a failure."""
        try:
            self.save_if_new(trainer)
        except Exception as error:
            self.tell_failure(error, step=trainer.finished_steps, can_retry=False)
            return "failed"
        return reason

    def end(self, reason: str, finished_steps: int) -> RunEnded:
        """Tell the end and let the run file go."""
        ended = RunEnded(time=time.time(), reason=reason, finished_steps=finished_steps)
        self.emit_if_possible(ended)
        self.close_writer()
        return ended

    def close_writer(self) -> None:
        """Let the run file go. Safe to call twice."""
        if self.writer is not None:
            # What the disk did not take has been told already; the writer lets the run go all the same.
            with contextlib.suppress(RunFileError):
                self.writer.close()

    def recall(self, step: int, group: int) -> GroupRecord | None:
        """A group as it is recorded, also of the step in progress."""
        if self.writer is not None:
            self.writer.flush()
        with RunReader(self.run_dir) as reader:
            return reader.load_group(step, group)

    def emit_if_possible(self, event: Event) -> None:
        """Emit where the disk may refuse and there is nobody left to tell; the writer keeps the event."""
        with contextlib.suppress(RunFileError):
            self.emit(event)

    def tell_failure(self, error: Exception, *, step: int, can_retry: bool) -> None:
        """Turn an exception into an event."""
        self.emit_if_possible(
            TrainerFailed(
                time=time.time(),
                step=step,
                kind=type(error).__name__,
                message=one_line(error),
                advice=advice_for(error),
                traceback="".join(traceback.format_exception(error)),
                can_retry=can_retry,
            )
        )
