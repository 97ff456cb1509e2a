"""RunState: everything a screen may know, and :func:`reduce`, the one fold that makes it from events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from grpo_tui.events import order, settings
from grpo_tui.events.breakpoints import Breakpoint, Hit
from grpo_tui.events.judgements import Flip
from grpo_tui.events.lines import ROOT, common_step, holder
from grpo_tui.events.probes import ProbePoint, points
from grpo_tui.events.records import (
    BranchRecord,
    DataRecord,
    EvalRecord,
    GroupRecord,
    Mode,
    ModelRecord,
    Phase,
    StepDetail,
    StepMetrics,
)
from grpo_tui.events.types import (
    ActTaken,
    AdvantagesComputed,
    BranchStarted,
    BreakpointHit,
    BreakpointsChanged,
    CheckpointSaved,
    DataLoaded,
    EvalFinished,
    Event,
    FitMeasured,
    GroupSampled,
    GroupScored,
    LoadingStage,
    MismatchFound,
    ModeChanged,
    ModelLoaded,
    Notice,
    OrderChanged,
    PhaseFinished,
    PhaseStarted,
    PlayEnded,
    PlaygroundAnswered,
    PlayStarted,
    PreflightDone,
    PreflightEnded,
    PreflightStarted,
    PreviewComputed,
    ProbePinned,
    ProbesRead,
    ProbeUnpinned,
    ProfileSaved,
    ReceiptComputed,
    ReferenceComputed,
    RequestFailed,
    ResponseForked,
    Reverified,
    RunEnded,
    RunStarted,
    SettingsChanged,
    StatesKept,
    StepFinished,
    StepStarted,
    TokensWeighed,
    TrainerFailed,
    TwinComputed,
    UpdateChosen,
    VerdictDisputed,
    VerdictsRevised,
    WentTo,
    WhatIfComputed,
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


def reduce(state: RunState, event: Event) -> RunState:
    """Fold one event into the state. Unknown events leave it unchanged."""
    handler = _HANDLERS.get(type(event))
    return handler(state, event) if handler else state


def _log(state: RunState, event: Event, level: str, source: str, message: str) -> tuple[LogLine, ...]:
    return (*state.log[-(LOG_LINES - 1) :], LogLine(event.time, level, source, message))


def _stand_at(state: RunState, branch: int, step: int) -> RunState:
    """Show the line that ends in ``branch`` up to ``step``, and put everything else by (the run file keeps it)."""
    tree = state.tree
    common = common_step(tree, state.branch, branch)
    shared = step if common is None else min(step, common)
    left_behind = list(state.left.values())
    history, left_history = _share(state, branch, step, state.history, [one.history for one in left_behind])
    evals, left_evals = _share(state, branch, step, state.evals, [one.evals for one in left_behind])
    saved, left_saved = _share(
        state, branch, step, state.checkpoints, [one.checkpoints for one in left_behind]
    )
    changes = [*state.settings_changes, *(c for one in left_behind for c in one.settings_changes)]
    here, elsewhere = settings.divide(tree, branch, step, changes)
    left_changes: dict[int, tuple[SettingsChanged, ...]] = {}
    for change in elsewhere:
        left_changes[change.branch] = (*left_changes.get(change.branch, ()), change)
    left = {
        other: LeftSteps(
            history=left_history.get(other, ()),
            evals=left_evals.get(other, ()),
            checkpoints=left_saved.get(other, ()),
            settings_changes=left_changes.get(other, ()),
        )
        for other in sorted({*left_history, *left_evals, *left_saved, *left_changes})
    }
    return replace(
        state,
        branch=branch,
        history=history,
        evals=evals,
        checkpoints=saved,
        recent=tuple(d for d in state.recent if d.step <= shared),
        settings_changes=here,
        left=MappingProxyType(left),
    )


class _OfStep(Protocol):
    @property
    def step(self) -> int: ...


_S = TypeVar("_S", bound=_OfStep)


def _share(
    state: RunState, branch: int, step: int, present: tuple[_S, ...], left: list[tuple[_S, ...]]
) -> tuple[tuple[_S, ...], dict[int, tuple[_S, ...]]]:
    """Divide everything of one kind anew: what is on the line, and the rest by branch."""
    tree = state.tree
    pools: dict[int, dict[int, _S]] = {}
    for other, items in zip(state.left, left, strict=True):
        pools.setdefault(other, {}).update((item.step, item) for item in items)
    for item in present:
        pools.setdefault(holder(tree, state.branch, item.step), {})[item.step] = item
    line: dict[int, _S] = {}
    rest: dict[int, tuple[_S, ...]] = {}
    for other, pool in pools.items():
        for item in pool.values():
            if item.step <= step and holder(tree, branch, item.step) == other:
                line[item.step] = item
        kept = tuple(item for number, item in sorted(pool.items()) if line.get(number) is not item)
        if kept:
            rest[other] = kept
    return tuple(item for _, item in sorted(line.items())), rest


def _went_to(state: RunState, event: WentTo) -> RunState:
    state = _forget_updates(_stand_at(state, event.branch, event.step), event.step + 1)
    message = f"{event.how}: at the end of step {event.step} on {state.branch_label}"
    if event.left_step:
        message += f", step {event.left_step} was left"
    return replace(
        state,
        current=None,
        phase=None,
        phase_seconds=MappingProxyType({}),
        went=event,
        log=_log(state, event, "info", "history", f"{message} · state {event.state_hash[:12]}"),
    )


def _branch_started(state: RunState, event: BranchStarted) -> RunState:
    record = BranchRecord(
        branch=event.branch, parent=event.parent, fork_step=event.fork_step, name=event.name
    )
    others = tuple(known for known in state.branches if known.branch != event.branch)
    state = _stand_at(replace(state, branches=(*others, record)), event.branch, event.fork_step)
    message = f"{record.label} goes off after step {event.fork_step} of {state.label_of(event.parent)}"
    return replace(state, log=_log(state, event, "info", "history", message))


def _back_to(state: RunState, finished_steps: int) -> RunState:
    """Leave what came after a step without a word of where: a retried step, or a file of an older program."""
    return replace(
        state,
        history=tuple(m for m in state.history if m.step <= finished_steps),
        evals=tuple(e for e in state.evals if e.step <= finished_steps),
        checkpoints=tuple(c for c in state.checkpoints if c.step <= finished_steps),
        recent=tuple(d for d in state.recent if d.step <= finished_steps),
        settings_changes=tuple(c for c in state.settings_changes if c.finished_steps <= finished_steps),
        acts=tuple(a for a in state.acts if a.step <= finished_steps),
    )


def _run_started(state: RunState, event: RunStarted) -> RunState:
    verb = "resumed after step" if event.finished_steps else "started, step"
    message = f"{event.name} {verb} {event.finished_steps} of {event.total_steps}"
    if event.branch not in state.tree:  # later steps had no state to go on from, and were left
        gone_off = BranchRecord(branch=event.branch, parent=state.branch, fork_step=event.finished_steps)
        state = replace(state, branches=(*state.branches, gone_off))
    if event.branch == state.branch:
        state = _back_to(state, event.finished_steps)
    else:
        state = _stand_at(state, event.branch, event.finished_steps)
    return replace(
        state,
        run=event,
        mode=Mode.LOADING,
        mode_detail="",
        loading=(),
        current=None,
        phase=None,
        phase_seconds=MappingProxyType({}),
        failure=None,
        ended=None,
        checking=None,
        log=_log(state, event, "info", "run", message),
    )


def _mode_changed(state: RunState, event: ModeChanged) -> RunState:
    failure = None if event.mode in (Mode.RUNNING, Mode.PAUSED) else state.failure
    hit = None if event.mode is Mode.RUNNING else state.hit
    return replace(state, mode=event.mode, mode_detail=event.detail, failure=failure, hit=hit)


def _step_started(state: RunState, event: StepStarted) -> RunState:
    if event.step <= state.last_step:  # taken again after it had finished
        state = _back_to(state, event.step - 1)
    state = _forget_updates(state, event.step)
    return replace(state, current=StepDetail(step=event.step), phase=None, phase_seconds=MappingProxyType({}))


def _forget_updates(state: RunState, step: int) -> RunState:
    """Drop what was found out about the updates of a step that is taken again, and of later ones."""
    return replace(
        state,
        preview=state.preview if state.preview and state.preview.step < step else None,
        what_if=state.what_if if state.what_if and state.what_if.step < step else None,
        receipt=state.receipt if state.receipt and state.receipt.step < step else None,
        twins=state.twins if state.twins and state.twins.step < step else None,
        mismatch=state.mismatch if state.mismatch and state.mismatch.step < step else None,
        update_choice=None,
    )


def _phase_finished(state: RunState, event: PhaseFinished) -> RunState:
    return replace(state, phase_seconds=MappingProxyType({**state.phase_seconds, event.phase: event.seconds}))


def _with_groups(
    state: RunState, step: int, change: Callable[[tuple[GroupRecord, ...]], tuple[GroupRecord, ...]]
) -> RunState:
    if state.current is None or state.current.step != step:
        return state
    return replace(state, current=replace(state.current, groups=change(state.current.groups)))


def _group_sampled(state: RunState, event: GroupSampled) -> RunState:
    return _with_groups(
        state,
        event.step,
        lambda groups: tuple(
            sorted((*(g for g in groups if g.index != event.group.index), event.group), key=lambda g: g.index)
        ),
    )


def _group_scored(state: RunState, event: GroupScored) -> RunState:
    def score(group: GroupRecord) -> GroupRecord:
        if group.index != event.group_index:
            return group
        completions = tuple(
            replace(completion, reward=reward, scores=scores)
            for completion, reward, scores in zip(
                group.completions, event.rewards_G, event.scores_G, strict=True
            )
        )
        return replace(group, completions=completions)

    return _with_groups(state, event.step, lambda groups: tuple(score(group) for group in groups))


def _fill(
    groups: tuple[GroupRecord, ...], name: str, values_P_G: tuple[tuple[Any, ...], ...]
) -> tuple[GroupRecord, ...]:
    """Set one field of every completion from nested tuples of the same shape."""
    return tuple(
        replace(
            group,
            completions=tuple(
                replace(completion, **{name: value})
                for completion, value in zip(group.completions, values_P_G[group.index], strict=True)
            ),
        )
        for group in groups
    )


def _advantages(state: RunState, event: AdvantagesComputed) -> RunState:
    def fill(groups: tuple[GroupRecord, ...]) -> tuple[GroupRecord, ...]:
        groups = _fill(groups, "advantage", event.advantages_P_G)
        by_token = event.advantages_P_G_T
        return _fill(groups, "advantages_T", by_token) if by_token else groups

    return _with_groups(state, event.step, fill)


def _tokens_weighed(state: RunState, event: TokensWeighed) -> RunState:
    def fill(groups: tuple[GroupRecord, ...]) -> tuple[GroupRecord, ...]:
        groups = _fill(groups, "weight_T", event.weights_P_G)
        return _fill(groups, "ratio_T", event.ratios_P_G) if event.ratios_P_G else groups

    return _with_groups(state, event.step, fill)


def _reference(state: RunState, event: ReferenceComputed) -> RunState:
    return _with_groups(state, event.step, lambda groups: _fill(groups, "kl_ref_T", event.kl_ref_P_G))


def _update_facts(metrics: StepMetrics) -> list[str]:
    """What a line of the log says of the step's groups and update, beyond the ordinary."""
    facts = []
    if metrics.num_resampled_groups:
        facts.append(f"{metrics.num_resampled_groups} dead groups replaced")
    if metrics.num_tokens_saved:
        facts.append(f"about {metrics.num_tokens_saved} tokens saved by stopping early")
    region = metrics.update.trust_region if metrics.update else None
    if metrics.update_skipped:
        facts.append(f"no update: {metrics.update_skipped}")
    elif region is not None and region.accepted:
        facts.append(f"step accepted at {region.scale:.2f}, KL {region.kl:.4f} of {region.kl_limit:g}")
    elif metrics.update and metrics.update.explanations and (region or not metrics.grad_norm):
        facts.append(metrics.update.explanations[0])
    return facts


def _step_finished(state: RunState, event: StepFinished) -> RunState:
    metrics = event.metrics
    current = state.current
    if current is None or current.step != metrics.step:
        current = StepDetail(step=metrics.step)
    finished = replace(current, metrics=metrics)
    if metrics.step <= state.last_step:
        state = _back_to(state, metrics.step - 1)
    counts = " · ".join(f"{n} {verdict}" for verdict, n in sorted(metrics.verdict_counts.items()))
    message = f"step {metrics.step}: reward {metrics.reward_mean:.3f} · {counts}"
    message += f" · {metrics.num_completions} responses, {metrics.num_completion_tokens} tokens · {metrics.seconds:.1f} s"
    message += "".join(f" · {fact}" for fact in _update_facts(metrics))
    return replace(
        state,
        current=None,
        phase=None,
        went=None,
        recent=(*state.recent[-(RECENT_STEPS - 1) :], finished),
        history=(*state.history, metrics),
        log=_log(state, event, "info", "step", message),
    )


def _eval_finished(state: RunState, event: EvalFinished) -> RunState:
    result = event.result
    message = (
        f"held-out after step {result.step}: accuracy {result.accuracy:.3f} "
        f"[{result.low:.3f}, {result.high:.3f}] on {result.num_problems} problems"
    )
    evals = (*(e for e in state.evals if e.step != result.step), result)
    return replace(state, evals=evals, log=_log(state, event, "info", "eval", message))


def _checkpoint(state: RunState, event: CheckpointSaved) -> RunState:
    message = f"saved step {event.step} ({event.num_bytes / 1e6:.1f} MB)"
    checkpoints = (*(c for c in state.checkpoints if c.step != event.step), event)
    return replace(state, checkpoints=checkpoints, log=_log(state, event, "info", "checkpoint", message))


def _profile(state: RunState, event: ProfileSaved) -> RunState:
    head = f"step {event.step} profiled: {event.path} ({event.num_bytes / 1e6:.1f} MB); open it at https://ui.perfetto.dev"
    for line in (head, *event.table.splitlines()):
        state = replace(state, log=_log(state, event, "info", "profile", line))
    return state


def _data_loaded(state: RunState, event: DataLoaded) -> RunState:
    data = event.data
    message = f"{data.num_train} problems, {data.num_eval} held out, {len(data.rejected)} kept out"
    return replace(state, data=data, log=_log(state, event, "info", "data", message))


def _failed(state: RunState, event: TrainerFailed) -> RunState:
    message = f"step {event.step}: {event.kind}: {event.message}"
    acts = tuple(a for a in state.acts if a.step <= state.last_step)  # the step is taken again without them
    return replace(
        state, failure=event, mode=Mode.FAILED, acts=acts, log=_log(state, event, "error", "engine", message)
    )


def _breakpoint_hit(state: RunState, event: BreakpointHit) -> RunState:
    hit = event.hit
    found = f": {hit.matches[0].sentence}" if hit.matches else ""
    more = f" and {len(hit.matches) - 1} more" if len(hit.matches) > 1 else ""
    message = f"stopped by '{hit.breakpoint}' in step {hit.step}{found}{more}"
    return replace(state, hit=hit, log=_log(state, event, "info", "break", message))


def _act_taken(state: RunState, event: ActTaken) -> RunState:
    note = f" ({event.note})" if event.note else ""
    return replace(
        state,
        acts=(*state.acts, event),
        log=_log(state, event, "info", "act", f"step {event.step}: {event.sentence}{note}"),
    )


def _request_failed(state: RunState, event: RequestFailed) -> RunState:
    message = f"{event.request}: {event.message}"
    return replace(state, log=_log(state, event, "error", "request", message))


def _settings_changed(state: RunState, event: SettingsChanged) -> RunState:
    verb = "taken back: " if event.undoes else ""
    message = f"{verb}{settings.describe(event)} from step {event.step} (by {event.by})"
    steps = next((change.new for change in event.changes if change.key == "run.steps"), None)
    run = state.run
    if run is not None and steps is not None:
        run = replace(run, total_steps=int(steps))
    return replace(
        state,
        run=run,
        settings_changes=(*state.settings_changes, event),
        log=_log(state, event, "info", "tune", message),
    )


def _play_started(state: RunState, event: PlayStarted) -> RunState:
    others = tuple(play for play in state.plays if play.started.id != event.id)
    return replace(state, plays=(*others[-(KEPT_PLAYS - 1) :], PlayRecord(started=event)))


def _with_play(state: RunState, id: int, change: Callable[[PlayRecord], PlayRecord]) -> RunState:
    return replace(state, plays=tuple(change(p) if p.started.id == id else p for p in state.plays))


def _play_answered(state: RunState, event: PlaygroundAnswered) -> RunState:
    return _with_play(state, event.id, lambda play: replace(play, answers=(*play.answers, event)))


def _play_ended(state: RunState, event: PlayEnded) -> RunState:
    state = _with_play(state, event.id, lambda play: replace(play, ended=event))
    return replace(state, last_play_end=event)


def _receipt(state: RunState, event: ReceiptComputed) -> RunState:
    receipt = event.receipt
    message = f"receipt of update {receipt.step}: {receipt.num_as_wanted} of {receipt.num_wanted} answers moved as wanted"
    return replace(state, receipt=receipt, log=_log(state, event, "info", "receipt", message))


def _update_chosen(state: RunState, event: UpdateChosen) -> RunState:
    changes = ", ".join(f"{key} = {text}" for key, text in event.choice.changes)
    message = f"update {event.step} is taken as {event.choice.name}: {changes}"
    if not changes:
        message = f"update {event.step} is taken under the run's own settings"
    return replace(
        state,
        update_choice=event if changes else None,
        log=_log(state, event, "info", "act", message),
    )


def _preflight_done(state: RunState, event: PreflightDone) -> RunState:
    report = event.report
    message = (
        f"probe: {report.num_dead} of {len(report.groups)} groups dead, {report.num_truncated} of "
        f"{report.num_completions} responses cut, mean reward {report.mean_reward:.3f}"
    )
    return replace(state, preflight=event, log=_log(state, event, "info", "pre-flight", message))


def _fit_measured(state: RunState, event: FitMeasured) -> RunState:
    report = event.report
    message = (
        f"fit: up to {report.max_tokens_per_microbatch} tokens a microbatch, a worst step takes about "
        f"{report.seconds_per_step:.1f} s"
        if report.fits
        else "fit: the worst step does not fit in memory"
    )
    level = "info" if report.fits else "warning"
    return replace(state, fit=event, log=_log(state, event, level, "pre-flight", message))


def _probe_pinned(state: RunState, event: ProbePinned) -> RunState:
    others = tuple(probe for probe in state.probes if probe.probe != event.probe)
    often = "every step" if event.every == 1 else f"every {event.every} steps"
    message = f"probe {event.probe} pinned, read {often}: {' '.join(event.problem.question.split())[:80]}"
    return replace(state, probes=(*others, event), log=_log(state, event, "info", "probes", message))


def _probe_unpinned(state: RunState, event: ProbeUnpinned) -> RunState:
    left = tuple(probe for probe in state.probes if probe.probe != event.probe)
    message = f"probe {event.probe} is read no more"
    return replace(state, probes=left, log=_log(state, event, "info", "probes", message))


def _probes_read(state: RunState, event: ProbesRead) -> RunState:
    read = (*state.probes_read, event)
    if len(read) > KEPT_TEXTS:
        oldest = len(read) - KEPT_TEXTS - 1
        read = (*read[:oldest], _without_texts(read[oldest]), *read[oldest + 1 :])
    return replace(state, probes_read=read)


def _without_texts(event: ProbesRead) -> ProbesRead:
    readings = tuple(
        replace(
            reading,
            greedy=replace(reading.greedy, text="", reason=""),
            sample=replace(reading.sample, text="", reason=""),
        )
        for reading in event.readings
    )
    return replace(event, readings=readings)


def _order_changed(state: RunState, event: OrderChanged) -> RunState:
    name = " ".join(event.question.split())[:60] or event.problem_id
    message = f"{name}: {order.describe(event)} from step {event.step} (by {event.by})"
    return replace(
        state,
        order_changes=(*state.order_changes, event),
        log=_log(state, event, "info", "order", message),
    )


def _disputed(state: RunState, event: VerdictDisputed) -> RunState:
    where = f"step {event.step} g{event.group + 1}·r{event.completion + 1}"
    message = (
        f"{where}: verdict {event.was} disputed, should be {event.should_be}: {event.case} in {event.path}"
    )
    return replace(
        state, disputes=(*state.disputes, event), log=_log(state, event, "info", "verifier", message)
    )


def _reverified(state: RunState, event: Reverified) -> RunState:
    message = event.message or (
        f"{event.num_answers} answers judged again under {event.rules}: {len(event.flips)} verdicts differ "
        f"({event.seconds:.1f} s)"
    )
    return replace(
        state,
        reverified=event,
        log=_log(state, event, "error" if event.message else "info", "verifier", message),
    )


def _revised(state: RunState, event: VerdictsRevised) -> RunState:
    message = f"{len(event.flips)} verdicts under {event.rules} stored beside the recorded ones"
    return replace(
        state,
        revised=MappingProxyType({flip.place: flip for flip in event.flips}),
        revised_rules=event.rules,
        log=_log(state, event, "info", "verifier", message),
    )


def _ended(state: RunState, event: RunEnded) -> RunState:
    mode = {"finished": Mode.FINISHED, "failed": Mode.FAILED}.get(event.reason, Mode.STOPPED)
    message = f"{event.reason} after step {event.finished_steps}"
    return replace(
        state, ended=event, mode=mode, checking=None, log=_log(state, event, "info", "run", message)
    )


_HANDLERS: dict[type[Event], Callable[[RunState, Any], RunState]] = {
    RunStarted: _run_started,
    LoadingStage: lambda state, event: replace(state, loading=(*state.loading, event)),
    ModelLoaded: lambda state, event: replace(state, model=event.model),
    DataLoaded: _data_loaded,
    ModeChanged: _mode_changed,
    StepStarted: _step_started,
    PhaseStarted: lambda state, event: replace(state, phase=event.phase),
    PhaseFinished: _phase_finished,
    GroupSampled: _group_sampled,
    GroupScored: _group_scored,
    AdvantagesComputed: _advantages,
    ReferenceComputed: _reference,
    TokensWeighed: _tokens_weighed,
    StepFinished: _step_finished,
    EvalFinished: _eval_finished,
    CheckpointSaved: _checkpoint,
    ProfileSaved: _profile,
    Notice: lambda state, event: replace(
        state, log=_log(state, event, event.level, event.source, event.message)
    ),
    TrainerFailed: _failed,
    RequestFailed: _request_failed,
    BreakpointsChanged: lambda state, event: replace(state, breakpoints=event.breakpoints),
    BreakpointHit: _breakpoint_hit,
    ActTaken: _act_taken,
    ResponseForked: lambda state, event: replace(state, forked=event),
    SettingsChanged: _settings_changed,
    PlayStarted: _play_started,
    PlaygroundAnswered: _play_answered,
    PlayEnded: _play_ended,
    PreflightStarted: lambda state, event: replace(state, checking=event),
    PreflightDone: _preflight_done,
    FitMeasured: _fit_measured,
    PreflightEnded: lambda state, event: replace(state, checking=None, last_check=event),
    WentTo: _went_to,
    BranchStarted: _branch_started,
    ProbePinned: _probe_pinned,
    ProbeUnpinned: _probe_unpinned,
    ProbesRead: _probes_read,
    OrderChanged: _order_changed,
    VerdictDisputed: _disputed,
    Reverified: _reverified,
    VerdictsRevised: _revised,
    StatesKept: lambda state, event: replace(state, kept=event),
    PreviewComputed: lambda state, event: replace(state, preview=event.preview),
    WhatIfComputed: lambda state, event: replace(state, what_if=event.comparison),
    ReceiptComputed: _receipt,
    TwinComputed: lambda state, event: replace(state, twins=event.comparison),
    UpdateChosen: _update_chosen,
    MismatchFound: lambda state, event: replace(state, mismatch=event.mismatch),
    RunEnded: _ended,
}
