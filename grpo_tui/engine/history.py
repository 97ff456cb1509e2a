"""Where a run stands among its branches, and going elsewhere: undo, redo, go to a step, fork.

A journey puts back what training carries over the end of a step, bitwise, and checks it by its hash. Problems, learning
rate and random streams are functions of seed and step, so a step taken again is the same step. Nothing
is deleted: steps after the one that was gone to stay on their branch, and training on opens another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from grpo_tui.config.changes import with_texts
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.control import StepLeft
from grpo_tui.engine.snapshots import KeptState, SnapshotStore, capture, restore
from grpo_tui.engine.tuning import replay_changes
from grpo_tui.events.commands import Fork, GoTo, Redo, StartAgain, Undo
from grpo_tui.events.lines import ROOT, holder
from grpo_tui.events.records import BranchRecord
from grpo_tui.events.settings import divide
from grpo_tui.events.types import BranchStarted, Notice, SettingsChanged, StatesKept, WentTo
from grpo_tui.runs.states import KEEP_LAST, Position

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer


class WentElsewhere(Exception):
    """Raised through the step in progress, or the wait for one, once the trainer stands at the end of another step."""


class History:
    """The branches of a run, the one it is on, and the states it can go back to."""

    def __init__(self, budget_mb: int) -> None:
        self.store = SnapshotStore(budget_mb << 20)
        self.enabled = budget_mb > 0
        self.tree: dict[int, BranchRecord] = {ROOT.branch: ROOT}
        self.ends: dict[int, int] = {ROOT.branch: 0}
        """The last finished step of each branch, its fork's where it has none of its own."""
        self.branch = ROOT.branch
        self.step_in_progress = 0
        """0 between steps."""
        self.began_with: RunConfig | None = None
        """The run's settings before any change of them; None: those that the trainer has when it first leaves a step."""
        self.changes: list[SettingsChanged] = []
        """Every change of settings, on whatever branch."""
        self._ahead: Position | None = None
        """The furthest step that going back has left: what redo goes towards."""
        self._told_of_budget = False

    # --- where the run stands ----------------------------------------------------------------------------

    def adopt(
        self,
        branches: Iterable[tuple[BranchRecord, int]],
        branch: int,
        changes: Iterable[SettingsChanged] = (),
    ) -> None:
        """Take over what a run file knows: branches, each with its last step, the present one, changes of settings."""
        self.changes = list(changes)
        for record, last_step in branches:
            self.tree[record.branch] = record
            self.ends[record.branch] = last_step
        self.branch = branch

    def here(self, trainer: Trainer) -> Position:
        """The end of the trainer's last finished step."""
        return self.on_line(self.branch, trainer.finished_steps)

    def on_line(self, branch: int, step: int) -> Position:
        """A step of the line that ends in a branch, by the branch that holds it."""
        return Position(holder(self.tree, branch, step), step)

    def is_on_line(self, position: Position, branch: int) -> bool:
        """Whether a step belongs to the line that ends in a branch."""
        return self.on_line(branch, position.step) == position and position.step <= self.ends[branch]

    def redo_towards(self, trainer: Trainer) -> Position | None:
        """Where redo leads: the furthest step that was left, or the end of a branch that the run stands inside of."""
        if self._ahead is not None:
            return self._ahead
        here = self.here(trainer)
        for branch in dict.fromkeys((self.branch, here.branch)):
            if self.ends[branch] > here.step:
                return self.on_line(branch, self.ends[branch])
        return None

    # --- steps -------------------------------------------------------------------------------------------

    @contextmanager
    def step(self, trainer: Trainer) -> Iterator[None]:
        """One step: before it, keep what is left, and open a branch where later steps exist."""
        self.ends[self.branch] = max(self.ends[self.branch], trainer.finished_steps)
        self._keep_present(trainer)
        self._ahead = None
        self.leave_later_steps(trainer)
        self.step_in_progress = trainer.finished_steps + 1
        try:
            yield
        except StepLeft:
            raise  # the request that it was left for is still to be told so
        except BaseException:
            self.step_in_progress = 0
            raise
        self.step_in_progress = 0

    def finished(self, trainer: Trainer, state_hash: str) -> None:
        """A step is done: keep what it came to."""
        self.ends[self.branch] = trainer.finished_steps
        if not self.enabled:
            return
        self.store.add(self.here(trainer), capture(trainer, state_hash))
        self._thin(trainer)

    def kept(self, step: int) -> StatesKept:
        """What can be gone back to, for the screen and the run file."""
        return StatesKept(
            time=time.time(),
            step=step,
            num_states=len(self.store),
            num_bytes=self.store.num_bytes,
            budget_bytes=self.store.budget_bytes,
            num_thinned=self.store.num_thinned,
        )

    def leave_later_steps(self, trainer: Trainer) -> None:
        """Open a branch if steps come after this one on the present: what is done from now on is not of their line."""
        if self.ends[self.branch] > trainer.finished_steps:
            self.start_branch(trainer, "")

    def start_branch(self, trainer: Trainer, name: str) -> None:
        """Open a branch after the last finished step."""
        branch = max(self.tree) + 1
        record = BranchRecord(branch=branch, parent=self.branch, fork_step=trainer.finished_steps, name=name)
        self.tree[branch], self.ends[branch] = record, record.fork_step
        event = BranchStarted(
            time=time.time(), branch=branch, parent=self.branch, fork_step=record.fork_step, name=name
        )
        self.branch, self._ahead = branch, None
        trainer.emit(event)

    def keep_in(self, directory: Path) -> None:
        """States are files in this directory from now on."""
        if self.enabled:
            self.store.keep_in(directory)

    def close(self) -> None:
        """Let what waits reach the disk. Safe to call twice."""
        self.store.close()

    def _keep_present(self, trainer: Trainer) -> None:
        """The state at hand, unless it is kept already."""
        if self.began_with is None:
            self.began_with = trainer.config
        here = self.here(trainer)
        if self.enabled and here not in self.store:
            self.store.add(here, capture(trainer, trainer.state_hash()))

    def _thin(self, trainer: Trainer) -> None:
        here = self.here(trainer)
        forks = {
            self.on_line(record.parent, record.fork_step)
            for record in self.tree.values()
            if record.parent is not None
        }
        line = [position for position in self.store.positions if self.is_on_line(position, self.branch)]
        thinned = self.store.thin(line=line, always={here, Position(ROOT.branch, 0), *forks})
        failure = self.store.take_failure()
        if failure is not None:
            _warn(trainer, f"states can be gone back to in this session only: {failure}")
        over = self.store.num_bytes > self.store.budget_bytes
        few = sum(position in self.store for position in line) < min(KEEP_LAST, len(line))
        if (over or (thinned and few)) and not self._told_of_budget:
            self._told_of_budget = True
            _warn(
                trainer,
                f"run.history_mb {self.store.budget_bytes >> 20} holds fewer than the last {KEEP_LAST} states "
                f"({self.store.num_bytes / max(1, len(self.store.positions)) / 1e6:.1f} MB each): undo reaches less far",
            )

    # --- journeys ----------------------------------------------------------------------------------------

    def go(self, trainer: Trainer, branch: int, step: int, how: str) -> None:
        """Stand at the end of a step of the line that ends in a branch.

        Raises:
            ValueError: no state is kept there, or it is damaged; the trainer is as it was.
        """
        started = time.perf_counter()
        target = self.on_line(branch, step)
        state = self._state_at(target, branch)
        before, origin = self._leave(trainer)
        try:
            restore(trainer, state)
        except ValueError:
            restore(trainer, before)
            raise
        trainer.ahead.drop()
        self.under_settings(trainer, branch, step)
        here = Position(self.branch, before.step)
        self._ahead = self._still_ahead(target, branch, origin)
        self.branch, left, self.step_in_progress = branch, self.step_in_progress, 0
        trainer.emit(
            WentTo(
                time=time.time(),
                step=step,
                branch=branch,
                state_hash=state.state_hash,
                how=how,
                from_step=here.step,
                from_branch=here.branch,
                left_step=left,
                seconds=time.perf_counter() - started,
            )
        )

    def under_settings(self, trainer: Trainer, branch: int, step: int) -> None:
        """Go on under the settings that a line had after a step, with what was changed up to there."""
        changes, _ = divide(self.tree, branch, step, self.changes)
        replay_changes(trainer, changes, step, self.began_with)

    def _leave(self, trainer: Trainer) -> tuple[KeptState, Position]:
        """The state at hand, kept."""
        self._keep_present(trainer)
        here = self.here(trainer)
        return self.store.get(here), here

    def _still_ahead(self, target: Position, branch: int, origin: Position) -> Position | None:
        """Of the steps left earlier and now, the furthest that comes after the target on the same line."""
        candidates = [known for known in (self._ahead, origin, self._end_of(branch)) if known is not None]
        for known in candidates:
            if known.step > target.step and self.on_line(known.branch, target.step) == target:
                return known
        return None

    def _end_of(self, branch: int) -> Position:
        return self.on_line(branch, self.ends[branch])

    def _state_at(self, target: Position, branch: int) -> KeptState:
        if not self.enabled:
            raise ValueError("no earlier state is kept: run.history_mb is 0")
        try:
            return self.store.get(target)
        except KeyError:
            line = [p.step for p in self.store.positions if self.is_on_line(p, branch)]
            before = [step for step in line if step < target.step]
            after = [step for step in line if step > target.step]
            near = [str(step) for step in (*before[-1:], *after[:1])]
            advice = f"kept nearest are {' and '.join(near)}" if near else "none is kept on this line"
            if before:
                advice += f"; go to {before[-1]} and run {target.step - before[-1]} to have it again"
            raise ValueError(
                f"the state of step {target.step} was given up for disk space (run.history_mb): {advice}"
            ) from None


def _warn(trainer: Trainer, message: str) -> None:
    trainer.emit(Notice(time=time.time(), level="warning", message=message, source="history"))


# --- requests --------------------------------------------------------------------------------------------


def undo(trainer: Trainer, request: Undo) -> None:
    """Back over steps; in the middle of one, leaving it is the first.

    Raises:
        ValueError: there are not so many.
        WentElsewhere: done.
    """
    history = trainer.history
    steps = request.steps - bool(history.step_in_progress)
    step = trainer.finished_steps - steps
    if request.steps < 1 or step < 0:
        raise ValueError(f"there are {trainer.finished_steps} steps to undo, not {request.steps}")
    history.go(trainer, history.branch, step, "undo")
    raise WentElsewhere


def redo(trainer: Trainer, request: Redo) -> None:
    """Forward over steps that were undone.

    Raises:
        ValueError: there are not so many.
        WentElsewhere: done.
    """
    history = trainer.history
    towards = history.redo_towards(trainer)
    here = trainer.finished_steps
    if towards is None or request.steps < 1:
        raise ValueError("there is nothing to redo: no step comes after this one on its line")
    if here + request.steps > towards.step:
        raise ValueError(f"there are {towards.step - here} steps to redo, not {request.steps}")
    # On the line that ends in the branch of the furthest step; its own name where the run stands on it already.
    branch = history.branch if history.is_on_line(towards, history.branch) else towards.branch
    history.go(trainer, branch, here + request.steps, "redo")
    raise WentElsewhere


def go_to(trainer: Trainer, request: GoTo) -> None:
    """To the end of a step of a line; without a branch, of the present line with what was undone on it.

    Raises:
        ValueError: there is no such step or branch, or its state is kept no longer.
        WentElsewhere: done.
    """
    history = trainer.history
    branch = request.branch
    if branch is None:
        towards = history.redo_towards(trainer)
        branch = history.branch
        if towards is not None and request.step > history.ends[branch]:
            branch = towards.branch
    if branch not in history.tree:
        raise ValueError(f"there is no branch {branch}")
    if not 0 <= request.step <= history.ends[branch]:
        label = history.tree[branch].label
        raise ValueError(f"{label} has steps 0 to {history.ends[branch]}, not {request.step}")
    history.go(trainer, branch, request.step, "go to")
    raise WentElsewhere


def fork(trainer: Trainer, request: Fork) -> None:
    """Go on upon a branch of its own.

    Raises:
        WentElsewhere: done, where a step in progress was left for it.
    """
    history = trainer.history
    in_progress = bool(history.step_in_progress)
    if in_progress:
        history.go(trainer, history.branch, trainer.finished_steps, "fork")
    history.start_branch(trainer, request.name.strip())
    raise WentElsewhere


def start_again(trainer: Trainer, request: StartAgain) -> None:
    """As a new process did that resumed the run: from a kept state, under the settings it was given.

    Raises:
        ValueError: there is no such state, or the settings cannot be read.
        WentElsewhere: done.
    """
    history = trainer.history
    if request.branch not in history.tree:
        raise ValueError(f"there is no branch {request.branch}")
    history.go(trainer, request.branch, request.step, "start again")
    history.leave_later_steps(trainer)
    if request.changes and history.began_with is not None:
        history.began_with = with_texts(history.began_with, request.changes)
        history.under_settings(trainer, history.branch, request.step)
    raise WentElsewhere
