"""RunState: everything a screen may know of a run at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from grpo_tui.events import order
from grpo_tui.events.breakpoints import Breakpoint, Hit
from grpo_tui.events.judgements import Flip
from grpo_tui.events.lines import ROOT, holder
from grpo_tui.events.probes import ProbePoint, points
from grpo_tui.events.records import (
    BranchRecord,
    DataRecord,
    EvalRecord,
    Mode,
    ModelRecord,
    Phase,
    StepDetail,
    StepMetrics,
)
from grpo_tui.events.types import (
    ActTaken,
    CheckpointSaved,
    Event,
    FitMeasured,
    LoadingStage,
    OrderChanged,
    PlayEnded,
    PlaygroundAnswered,
    PlayStarted,
    PreflightDone,
    PreflightEnded,
    PreflightStarted,
    ProbePinned,
    ProbesRead,
    ResponseForked,
    Reverified,
    RunEnded,
    RunStarted,
    SettingsChanged,
    StatesKept,
    TrainerFailed,
    UpdateChosen,
    VerdictDisputed,
    WentTo,
)
from grpo_tui.events.update_records import (
    LossComparison,
    Mismatch,
    TwinComparison,
    UpdatePreview,
    UpdateReceipt,
)

RECENT_STEPS = 4
"""Finished steps whose groups stay in memory; older ones are read from the run file."""
LOG_LINES = 1000
KEPT_PLAYS = 8
"""Plays of the Playground that stay in memory."""
KEPT_TEXTS = 64
"""Readings of probes whose texts stay in memory; of older ones, the numbers."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log. ``level`` is ``info``, ``warning`` or ``error``."""

    time: float
    level: str
    source: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayRecord:
    """One play of the Playground, as far as it has come."""

    started: PlayStarted
    answers: tuple[PlaygroundAnswered, ...] = ()
    ended: PlayEnded | None = None

    def of(self, source: str) -> PlaygroundAnswered | None:
        """What a source has answered; None while it has not."""
        return next((answered for answered in self.answers if answered.source == source), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftSteps:
    """What was taken on a branch and is not on the present line: an abandoned future, or the other side of a fork."""

    history: tuple[StepMetrics, ...] = ()
    evals: tuple[EvalRecord, ...] = ()
    checkpoints: tuple[CheckpointSaved, ...] = ()
    settings_changes: tuple[SettingsChanged, ...] = ()
    acts: tuple[ActTaken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run at one moment. Equal event sequences give equal states, live or replayed."""

    run: RunStarted | None = None
    mode: Mode = Mode.LOADING
    mode_detail: str = ""
    loading: tuple[LoadingStage, ...] = ()
    model: ModelRecord | None = None
    data: DataRecord | None = None
    phase: Phase | None = None
    """The phase in progress, or the one the engine stands before when paused between phases."""
    phase_seconds: Mapping[Phase, float] = field(default_factory=lambda: MappingProxyType({}))
    """Finished phases of the current step."""
    current: StepDetail | None = None
    """The step in progress; None between steps."""
    recent: tuple[StepDetail, ...] = ()
    history: tuple[StepMetrics, ...] = ()
    """One entry per finished step, oldest first."""
    evals: tuple[EvalRecord, ...] = ()
    checkpoints: tuple[CheckpointSaved, ...] = ()
    branch: int = 0
    """The branch that the present line ends in."""
    branches: tuple[BranchRecord, ...] = (ROOT,)
    left: Mapping[int, LeftSteps] = field(default_factory=lambda: MappingProxyType({}))
    """What is not on the present line, by the branch it was taken on."""
    went: WentTo | None = None
    """The last journey, until a step is taken after it."""
    kept: StatesKept | None = None
    breakpoints: tuple[Breakpoint, ...] = ()
    hit: Hit | None = None
    """What made the run stop where it stands; None once it goes on."""
    acts: tuple[ActTaken, ...] = ()
    """What was changed by hand on the steps of this line, oldest first."""
    forked: ResponseForked | None = None
    """The last response that was forked."""
    failure: TrainerFailed | None = None
    """Set while the engine waits after an error."""
    ended: RunEnded | None = None
    settings_changes: tuple[SettingsChanged, ...] = ()
    """Changes of settings while the run ran, oldest first."""
    log: tuple[LogLine, ...] = ()
    plays: tuple[PlayRecord, ...] = ()
    """The newest plays of the Playground, oldest first."""
    last_play_end: PlayEnded | None = None
    """How the last play ended; one that could not even begin is known by this alone."""
    preview: UpdatePreview | None = None
    """The newest of each of these, whatever step it is of."""
    what_if: LossComparison | None = None
    receipt: UpdateReceipt | None = None
    twins: TwinComparison | None = None
    mismatch: Mismatch | None = None
    update_choice: UpdateChosen | None = None
    """Other settings that the update of its step is taken under."""
    preflight: PreflightDone | None = None
    """The newest probe of some prompts."""
    fit: FitMeasured | None = None
    """The newest measurement of memory and time."""
    checking: PreflightStarted | None = None
    """The check that the engine is carrying out."""
    last_check: PreflightEnded | None = None
    """How the last check ended."""
    probes: tuple[ProbePinned, ...] = ()
    """Pinned prompts, in the order they were pinned."""
    probes_read: tuple[ProbesRead, ...] = ()
    """Readings on whatever branch, in the order they were made; the texts of old ones are left out."""
    order_changes: tuple[OrderChanged, ...] = ()
    """Problems dropped, postponed, restored or given more answers, on whatever branch, oldest first."""
    disputes: tuple[VerdictDisputed, ...] = ()
    reverified: Reverified | None = None
    """The last judging anew; the run file keeps only what was stored of it."""
    revised: Mapping[tuple[int, int, int, int], Flip] = field(default_factory=lambda: MappingProxyType({}))
    """Second verdicts stored beside the recorded ones, by branch, step, group and completion."""
    revised_rules: str = ""
    """The rules that they are by."""

    @property
    def last_step(self) -> int:
        """Number of the last finished step; 0 before the first."""
        return self.history[-1].step if self.history else 0

    @property
    def config_toml(self) -> str:
        """The newest config, with every change that was made; empty before the run began."""
        if self.settings_changes:
            return self.settings_changes[-1].config_toml
        return self.run.config_toml if self.run is not None else ""

    @property
    def state_hash(self) -> str:
        """The hash of the trainer's state at the end of the last finished step; empty where it was never told."""
        if self.went is not None:
            return self.went.state_hash
        return self.history[-1].state_hash if self.history else ""

    @property
    def branch_label(self) -> str:
        """The present branch's name for a person."""
        return self.label_of(self.branch)

    def label_of(self, branch: int) -> str:
        """A branch's name for a person."""
        # Where only a step is folded (the writer), branches are not known.
        unknown = BranchRecord(branch=branch, parent=ROOT.branch) if branch else ROOT
        return self.tree.get(branch, unknown).label

    @property
    def tree(self) -> dict[int, BranchRecord]:
        """Branches by number."""
        return {record.branch: record for record in self.branches}

    def probe_points(self, probe: int, last_step: int | None = None) -> tuple[ProbePoint, ...]:
        """The readings of a probe on the present line, oldest first, up to a step."""
        last = self.last_step if last_step is None else last_step
        return points(probe, self.probes_read, self.tree, self.branch, last)

    @property
    def plan(self) -> order.PromptPlan:
        """What was decided about single problems, as the next step to begin will have it."""
        here = order.on_line(self.order_changes, self.tree, self.branch, self.last_step)
        begun = self.current is not None
        return order.plan_for(here, self.last_step + (2 if begun else 1))

    def revised_verdict(self, step: int, group: int, completion: int) -> Flip | None:
        """The second verdict of an answer of the present line, where one is stored that differs from the recorded."""
        return self.revised.get((holder(self.tree, self.branch, step), step, group, completion))

    def detail(self, step: int) -> StepDetail | None:
        """The step's groups if they are in memory."""
        if self.current is not None and self.current.step == step:
            return self.current
        return next((detail for detail in self.recent if detail.step == step), None)


def logged(state: RunState, event: Event, level: str, source: str, message: str) -> tuple[LogLine, ...]:
    """The log with one more line, bounded."""
    return (*state.log[-(LOG_LINES - 1) :], LogLine(event.time, level, source, message))
