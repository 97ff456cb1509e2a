"""Small trainers and sessions around the bundled model. Nothing here depends on what its weights know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from grpo_tui.config.load import load_config
from grpo_tui.config.schema import RewardConfig, RunConfig
from grpo_tui.engine.advantages import add_advantages
from grpo_tui.engine.control import Control, Gate
from grpo_tui.engine.libraries import libraries_to_notices
from grpo_tui.engine.rollout import Rollout, begin_rollout, next_prompts, sample_groups
from grpo_tui.engine.rows import Row, make_rows
from grpo_tui.engine.runner import run_session
from grpo_tui.engine.scoring import score_groups
from grpo_tui.engine.step import run_step
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import Command
from grpo_tui.events.records import Phase, StepMetrics
from grpo_tui.events.types import Event, ModeChanged, Progress, RunEnded, StepFinished
from grpo_tui.runs.reader import RunReader
from tests.engine.rewarding import HERE as REWARDS_FILE

LETTERS = f"{REWARDS_FILE}:letters"
CONSTANT = f"{REWARDS_FILE}:constant"
ALTERNATING = f"{REWARDS_FILE}:alternating"
BREAKS = f"{REWARDS_FILE}:breaks_while_told"
SIGNALS = f"{REWARDS_FILE}:signals"
HALF_DEAD = f"{REWARDS_FILE}:half_dead"
FORM_ONLY = f"{REWARDS_FILE}:form_only"

SMALL = (
    "model.device=cpu",
    "sampling.prompts_per_step=2",
    "sampling.group_size=4",
    "sampling.max_completion_tokens=8",
    # Hot, so that completions differ however sure of itself the model is.
    "sampling.temperature=1.5",
    "model.lora_rank=4",
    "model.lora_targets=q_proj,v_proj",
    "data.limit=12",
    "eval.every=0",
    "run.steps=6",
    "run.checkpoint_every=100",
)
LOSS = "grpo_tui.engine.gradient.policy_gradient_loss"
"""Where the update looks its loss up, to put another in its place."""
PATIENCE = 60.0
"""Seconds after which a wait in a test is a failure."""

_E = TypeVar("_E", bound=Event)


def small_config(*overrides: str, reward: str = LETTERS) -> RunConfig:
    """Two prompts, four completions of at most 8 tokens, a reward that varies."""
    config = load_config(preset="tiny", overrides=[*SMALL, *overrides])
    return replace(config, reward=RewardConfig(weights={reward: 1.0}, canaries=False))


def small_options(*overrides: str, reward: str = LETTERS) -> list[str]:
    """The same for a command line."""
    weights = ["reward.weights.math=0", f"reward.weights.{reward}=1", "reward.canaries=false"]
    return [word for pair in (*SMALL, *weights, *overrides) for word in ("--set", pair)]


class Events(list[Event]):
    """Collected events."""

    def of(self, kind: type[_E]) -> list[_E]:
        """Those of one kind."""
        return [event for event in self if isinstance(event, kind)]

    def names(self) -> list[str]:
        """Kinds in order."""
        return [type(event).__name__ for event in self]

    @property
    def hashes(self) -> dict[int, str]:
        """State hash by step."""
        return {event.metrics.step: event.metrics.state_hash for event in self.of(StepFinished)}


@contextmanager
def trainer_of(config: RunConfig, events: Events | None = None) -> Iterator[Trainer]:
    """A loaded trainer, closed afterwards."""
    with libraries_to_notices(lambda _event: None):
        trainer = Trainer.load(config, emit=(events if events is not None else Events()).append)
        try:
            yield trainer
        finally:
            trainer.close()


def free_gate(trainer: Trainer) -> Gate:
    """A gate that never holds."""
    return Gate(Control(start_paused=False), trainer.emit)


class Looking(Gate):
    """A gate that never holds, and calls ``look`` before one phase, where requests are obeyed."""

    def __init__(self, trainer: Trainer, look: Callable[[int], None], before: Phase = Phase.UPDATE) -> None:
        super().__init__(Control(start_paused=False), trainer.emit)
        self._look, self._before = look, before

    @contextmanager
    def phase(self, step: int, phase: Phase) -> Iterator[None]:
        """One of the seven calls."""
        if phase is self._before:
            self._look(step)
        with super().phase(step, phase):
            yield


def step_looking(trainer: Trainer, look: Callable[[int], None], before: Phase = Phase.UPDATE) -> StepMetrics:
    """Take one step, and call ``look`` in it before a phase."""
    gate = Looking(trainer, look, before)
    gate.between_steps(trainer.finished_steps + 1)
    return run_step(trainer, gate)


def take_steps(trainer: Trainer, count: int) -> list[StepMetrics]:
    """Take some steps without stopping."""
    gate = free_gate(trainer)
    taken = []
    for _ in range(count):
        gate.between_steps(trainer.finished_steps + 1)
        taken.append(run_step(trainer, gate))
    return taken


def sampled(trainer: Trainer, step: int = 1) -> Rollout:
    """A step's first round, not yet scored."""
    rollout = begin_rollout(trainer, next_prompts(trainer, step))
    sample_groups(trainer, step, rollout, free_gate(trainer))
    return rollout


def rows_of(trainer: Trainer, step: int = 1) -> list[Row]:
    """The rows of a step's rollout batch, with their advantages."""
    rollout, gate = sampled(trainer, step), free_gate(trainer)
    score_groups(trainer, step, rollout, gate)
    rows = make_rows(trainer, rollout.prompts, rollout.groups)
    add_advantages(trainer, step, rollout.groups, rows, gate)
    return rows


def run_small(
    config: RunConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    control: Control | None = None,
    on_event: Callable[[Event], None] = lambda _event: None,
    wait_on_failure: bool = False,
    unattended: Callable[[], bool] | None = None,
) -> tuple[RunEnded, Events]:
    """A whole session on this thread."""
    events = Events()

    def emit(event: Event) -> None:
        events.append(event)
        on_event(event)

    ended = run_session(
        config,
        run_dir=run_dir,
        resume=resume,
        control=control or Control(start_paused=False),
        emit=emit,
        wait_on_failure=wait_on_failure,
        unattended=unattended,
    )
    return ended, events


@dataclass
class Background:
    """A session on a thread of its own, as the app runs it."""

    config: RunConfig
    run_dir: Path
    paused: bool = True
    resume: bool = False
    events: Events = field(default_factory=Events)
    gauges: list[Progress] = field(default_factory=list)
    ended: RunEnded | None = None
    on_event: Callable[[Event], None] = lambda _event: None

    def __enter__(self) -> Background:
        self.control = Control(start_paused=self.paused)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        from grpo_tui.events.commands import Stop

        self.control.send(Stop())
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self.ended = run_session(
            self.config,
            run_dir=self.run_dir,
            resume=self.resume,
            control=self.control,
            emit=self._emit,
            progress=self._report,
        )

    def _emit(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        self.on_event(event)

    def _report(self, progress: Progress) -> None:
        with self._changed:
            self.gauges.append(progress)
            self._changed.notify_all()

    def send(self, command: Command) -> None:
        """From another thread than the engine's."""
        self.control.send(command)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until an event or gauge makes it true."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), self.events.names()[-12:]

    def wait_for_number(self, kind: type[Event], number: int) -> None:
        """Until so many events of a kind have come."""
        self.wait_for(lambda: len(self.events.of(kind)) >= number)

    def modes(self) -> list[str]:
        """Each mode reached, with its detail."""
        return [f"{event.mode} {event.detail}".strip() for event in self.events.of(ModeChanged)]

    def wait_for_mode(self, mode: str, number: int = 1) -> None:
        """Until a mode was reached so many times."""
        self.wait_for(lambda: self.modes().count(mode) >= number)

    def join(self) -> RunEnded:
        """Until it ended."""
        self._thread.join(PATIENCE)
        assert self.ended is not None
        return self.ended


def expect_quiet(background: Background, seconds: float = 0.15) -> None:
    """Nothing happens for a while."""
    before = len(background.events), len(background.gauges)
    time.sleep(seconds)
    assert (len(background.events), len(background.gauges)) == before


def history_hashes(run_dir: Path) -> dict[int, str]:
    """State hash by step, as the run file tells it."""
    with RunReader(run_dir) as reader:
        return {metrics.step: metrics.state_hash for metrics in reader.history()}
