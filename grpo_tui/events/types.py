"""Events: everything that leaves the engine. Frozen, host-side, safe to hand to any thread.

Two kinds. *Structural* events are lossless and ordered: they are written to the run file and folded into
:class:`~grpo_tui.events.state.RunState`. A :class:`Progress` is a *gauge*: only the latest matters, it is
never stored, and a slow reader may miss any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from grpo_tui.events.breakpoints import Breakpoint, Hit
from grpo_tui.events.judgements import Flip
from grpo_tui.events.preflight import FitReport, ProbeReport
from grpo_tui.events.probes import ProbeReading
from grpo_tui.events.records import (
    DataRecord,
    EvalRecord,
    FloatArray,
    GroupRecord,
    IntArray,
    Mode,
    ModelRecord,
    Phase,
    ProblemRecord,
    SettingChange,
    StepMetrics,
    TokenScores,
)
from grpo_tui.events.update_records import (
    LossChoice,
    LossComparison,
    Mismatch,
    TwinComparison,
    UpdatePreview,
    UpdateReceipt,
)
from rewards.base import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. ``time`` is seconds since the epoch."""

    time: float = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The engine thread began: a new run, or a resumed one (``finished_steps`` > 0)."""

    run_dir: str
    name: str
    total_steps: int
    finished_steps: int
    config_toml: str
    branch: int = 0
    """The branch it goes on, a new one where later steps than ``finished_steps`` were left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingStage(Event):
    """A named stage of loading began, e.g. ``importing torch``. Stages follow one another."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoaded(Event):
    """The policy is in memory."""

    model: ModelRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLoaded(Event):
    """Problems are in memory."""

    data: DataRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeChanged(Event):
    """The engine reached a mode."""

    mode: Mode
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(Event):
    """A step began. A step that is retried starts again under the same number; what it had is forgotten."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A phase of the step began."""

    step: int
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFinished(Event):
    """A phase of the step ended."""

    step: int
    phase: Phase
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSampled(Event):
    """All completions of one prompt exist."""

    step: int
    group: GroupRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScored(Event):
    """Every completion of one group has its reward. Tuples are over the group's completions."""

    step: int
    group_index: int
    rewards_G: tuple[float, ...]
    scores_G: tuple[dict[str, Score], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvantagesComputed(Event):
    """Advantages of every group of the step."""

    step: int
    advantages_P_G: tuple[tuple[float, ...], ...]
    advantages_P_G_T: tuple[tuple[FloatArray, ...], ...] = ()
    """Of each token, where tokens of one completion differ (``gae``); else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceComputed(Event):
    """Per-token kl_ref (k3) of every completion of the step, at the weights before the update.

    Comes twice in a step: before the update from the log-probs recorded while sampling (``exact`` False),
    and after it from the update's own first forward pass, which replaces the estimate (``exact`` True). The
    two differ by the numerical mismatch between sampler and trainer, visible in bf16.
    """

    step: int
    kl_ref_P_G: tuple[tuple[FloatArray, ...], ...]
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensWeighed(Event):
    """What the update did with every token: its effective weight, and its ratio where that is not 1 throughout."""

    step: int
    weights_P_G: tuple[tuple[FloatArray, ...], ...]
    ratios_P_G: tuple[tuple[FloatArray, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished(Event):
    """The step is done and its state is final."""

    metrics: StepMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalFinished(Event):
    """Held-out accuracy was measured."""

    result: EvalRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint is safely on disk."""

    step: int
    path: str
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """One line for the log. ``level`` is ``info``, ``warning`` or ``error``; ``source`` names who spoke.

    ``detail`` is what belongs to the line but fits in none, such as a traceback.
    """

    level: str
    message: str
    source: str = "engine"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerFailed(Event):
    """The engine met an error; the state of the last finished step is intact and the engine waits.

    ``advice`` says what to do, one line; ``traceback`` is for the log only; ``can_retry`` is False when the
    error came before training could start.
    """

    step: int
    kind: str
    message: str
    advice: str
    traceback: str
    can_retry: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(Event):
    """Something asked of the engine could not be done; nothing changed. ``request`` is the command's name."""

    request: str
    message: str
    detail: str = ""
    """The traceback, where the fault is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionInspected(Event):
    """One completion scored again, by the present weights and with the adapter off.

    A view, not part of the run: the run file does not keep it.
    """

    step: int
    group: int
    completion: int
    token_ids_T: IntArray
    """The tokens that were scored: a step taken again may hold others under the same numbers."""
    finished_steps: int
    """Steps finished when it was scored: the weights are those after that step."""
    temperature: float
    now: TokenScores
    base: TokenScores
    vocabulary: tuple[str, ...]
    """Text of each token that occurs here, special ones by name."""
    vocabulary_ids: IntArray
    """The ids of ``vocabulary``, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChanged(Event):
    """The run goes on under other settings. What the run began with, and all of these in order, is its config.

    A change made later counts no later than one made before it: it takes an earlier one that still waits with it.
    """

    number: int
    """Of the change, from 1."""
    step: int
    """First step computed under it."""
    finished_steps: int
    """Steps that were finished when it was made. Going back before them leaves it."""
    changes: tuple[SettingChange, ...]
    config_toml: str
    """The whole config with it."""
    undoes: int = 0
    """Number of the change that it takes back; 0 where it is one of its own."""
    by: str = "you"
    branch: int = 0
    """The branch that the run was on. Lines that go through it beyond ``finished_steps`` have the change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSaved(Event):
    """A step was profiled. ``table``: its dearest operators, as lines of text."""

    step: int
    path: str
    num_bytes: int
    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayStarted(Event):
    """The Playground begins to sample. ``problem`` holds the prompt as it is given to the model."""

    id: int
    problem: ProblemRecord
    sources: tuple[str, ...]
    num_samples: int
    temperature: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundAnswered(Event):
    """One source of a play is done: its completions, with rewards where a gold answer was given."""

    id: int
    source: str
    group: GroupRecord
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayEnded(Event):
    """A play is over. ``reason`` is ``done``, ``stopped`` or ``failed``; ``message`` says why it failed."""

    id: int
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightStarted(Event):
    """A check begins. ``what`` is :data:`~grpo_tui.events.preflight.PROBE` or ``FIT``; ``detail`` says how much."""

    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightDone(Event):
    """Some prompts were sampled and scored as training would."""

    report: ProbeReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FitMeasured(Event):
    """The worst step's parts were run."""

    report: FitReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightEnded(Event):
    """A check is over. ``reason`` is ``done``, ``stopped`` or ``failed``; ``message`` says why it failed."""

    what: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WentTo(Event):
    """The run stands at the end of another step: weights, moments, random numbers and settings are as they were there.

    A step in progress was left. Nothing is deleted: what comes after ``step`` stays on its branch.
    """

    step: int
    branch: int
    """The branch of the line that is present now; the steps up to its fork belong to those before it."""
    state_hash: str
    """:meth:`grpo_tui.engine.trainer.Trainer.state_hash` of what was restored, checked against what was kept."""
    how: str
    """``undo``, ``redo``, ``go to`` or ``start again``."""
    from_step: int
    """The last finished step before."""
    from_branch: int = 0
    left_step: int = 0
    """The step in progress that was left, 0 if there was none."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchStarted(Event):
    """Steps from now on go on a branch of their own."""

    branch: int
    parent: int
    fork_step: int
    """The last step taken over from the parent."""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandObeyed(Event):
    """A request that can change the course of the run was carried out; ``command`` is its JSON.

    ``step``, ``phase`` and ``visit`` are its :class:`~grpo_tui.events.commands.Place`.
    """

    command: str
    step: int
    phase: str = ""
    visit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePinned(Event):
    """A prompt is read around updates from now on."""

    probe: int
    """Its number in the run, from 1."""
    problem: ProblemRecord
    every: int
    max_tokens: int
    seed: int
    """Of the streams of its sample: the same in every reading."""
    temperature: float
    """Of its sample; the greedy answer needs none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeUnpinned(Event):
    """A probe is read no more."""

    probe: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbesRead(Event):
    """What the weights after ``step`` make of the pinned prompts that were due."""

    step: int
    branch: int
    readings: tuple[ProbeReading, ...]
    seconds: float
    """What it cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChanged(Event):
    """A problem comes no more, later, again, or with another number of answers.

    Those of a line that were made up to a step are the order's state there (:mod:`grpo_tui.events.order`).
    """

    what: str
    """``drop``, ``postpone``, ``restore`` or ``answers``."""
    problem_id: str
    question: str
    step: int
    """First step chosen under it."""
    finished_steps: int
    """Steps that were finished when it was made. Going back before them leaves it."""
    branch: int = 0
    until: int = 0
    """The first step in which a postponed problem may come again."""
    group_size: int = 0
    """Answers sampled for it, where ``what`` is ``answers``."""
    by: str = "you"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictDisputed(Event):
    """Somebody said that a verdict is wrong, and it became a case in ``path``."""

    step: int
    branch: int
    group: int
    completion: int
    was: str
    """The verdict as it was recorded."""
    should_be: str
    """``correct`` or ``wrong``."""
    case: str
    """Id of the case."""
    path: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverified(Event):
    """Every recorded answer was judged again; nothing is changed by that. A view, not part of the run.

    Either ``flips`` is whole or ``message`` says why it is not.
    """

    rules: str
    """What was judged by, a few words."""
    num_answers: int
    num_changed_rewards: int
    """Answers whose reward is another, those with another verdict among them."""
    flips: tuple[Flip, ...]
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictsRevised(Event):
    """Verdicts under other rules, stored beside the recorded ones, which stay as they are."""

    rules: str
    num_answers: int
    flips: tuple[Flip, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesKept(Event):
    """What can be gone back to, after a step: states on disk (in memory, where there is no folder) and their bytes."""

    step: int
    num_states: int
    num_bytes: int
    budget_bytes: int
    num_thinned: int = 0
    """States deleted so far to stay under the budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewComputed(Event):
    """The update that the step in progress would take; asked for, nothing was changed."""

    preview: UpdatePreview


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfComputed(Event):
    """The captured batch under other losses."""

    comparison: LossComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptComputed(Event):
    """What an update did to its answers."""

    receipt: UpdateReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinComputed(Event):
    """Updates that were tried and taken back."""

    comparison: TwinComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateChosen(Event):
    """An act: the update of this step, and no other, is taken under other settings. Without ``changes``: taken back."""

    step: int
    choice: LossChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchFound(Event):
    """Sampler against trainer."""

    mismatch: Mismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The engine thread is done. ``reason`` is ``finished``, ``stopped`` or ``failed``."""

    reason: str
    finished_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A gauge: how far the present phase is. ``done``/``total`` in ``unit``; latest wins."""

    step: int
    phase: Phase
    done: int
    total: int
    unit: str = ""
    tokens_per_second: float = 0.0
    of: str = ""
    """What is counted where it is no phase of a step, e.g. ``play``; ``phase`` then says the kind of work."""
    num_tokens: int = 0
    """Tokens so far, where the phase samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowingAnswer:
    """One response while it is sampled."""

    index: int
    num_tokens: int
    text: str
    """Its end, bounded; without special tokens."""
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A gauge too: the responses of one group as they are sampled, for whoever watches. Latest wins, never stored."""

    step: int
    group: int
    question: str
    answers: tuple[GrowingAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakpointsChanged(Event):
    """The breakpoints as they are now."""

    breakpoints: tuple[Breakpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakpointHit(Event):
    """The run stops before a phase, and why."""

    hit: Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class ActTaken(Event):
    """A person changed a step before its update. The events of the groups that it changed come before it."""

    step: int
    act: str
    """``verdict``, ``reward``, ``exclude``, ``include``, ``reroll``, ``draw more`` or ``undo``."""
    group: int
    completion: int | None
    sentence: str
    """What was done, from what to what."""
    note: str = ""
    by: str = "you"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseForked(Event):
    """Continuations sampled from inside a response: from before a token, after it, and after another in its place.

    In each group a completion is the whole response: what was there, and how it went on.
    """

    step: int
    group: int
    completion: int
    token: int
    before: GroupRecord
    after: GroupRecord
    instead: GroupRecord | None = None
    instead_id: int | None = None
    seconds: float = 0.0
