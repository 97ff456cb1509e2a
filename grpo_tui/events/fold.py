"""The one fold: ``reduce`` makes a RunState from events, live and replayed alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from grpo_tui.events import order, settings
from grpo_tui.events.records import GroupRecord, Mode, StepDetail, StepMetrics
from grpo_tui.events.standing import back_to, branch_started, forget_updates, run_started, went_to
from grpo_tui.events.state import KEPT_PLAYS, KEPT_TEXTS, RECENT_STEPS, PlayRecord, RunState, logged
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


def reduce(state: RunState, event: Event) -> RunState:
    """Fold one event into the state. Unknown events leave it unchanged."""
    handler = _HANDLERS.get(type(event))
    return handler(state, event) if handler else state


def _mode_changed(state: RunState, event: ModeChanged) -> RunState:
    failure = None if event.mode in (Mode.RUNNING, Mode.PAUSED) else state.failure
    hit = None if event.mode is Mode.RUNNING else state.hit
    return replace(state, mode=event.mode, mode_detail=event.detail, failure=failure, hit=hit)


def _step_started(state: RunState, event: StepStarted) -> RunState:
    if event.step <= state.last_step:  # taken again after it had finished
        state = back_to(state, event.step - 1)
    state = forget_updates(state, event.step)
    return replace(state, current=StepDetail(step=event.step), phase=None, phase_seconds=MappingProxyType({}))


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
    if metrics.num_ahead:
        facts.append("drawn ahead, one update off-policy")
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
        state = back_to(state, metrics.step - 1)
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
        log=logged(state, event, "info", "step", message),
    )


def _eval_finished(state: RunState, event: EvalFinished) -> RunState:
    result = event.result
    message = (
        f"held-out after step {result.step}: accuracy {result.accuracy:.3f} "
        f"[{result.low:.3f}, {result.high:.3f}] on {result.num_problems} problems"
    )
    evals = (*(e for e in state.evals if e.step != result.step), result)
    return replace(state, evals=evals, log=logged(state, event, "info", "eval", message))


def _checkpoint(state: RunState, event: CheckpointSaved) -> RunState:
    message = f"saved step {event.step} ({event.num_bytes / 1e6:.1f} MB)"
    checkpoints = (*(c for c in state.checkpoints if c.step != event.step), event)
    return replace(state, checkpoints=checkpoints, log=logged(state, event, "info", "checkpoint", message))


def _profile(state: RunState, event: ProfileSaved) -> RunState:
    head = f"step {event.step} profiled: {event.path} ({event.num_bytes / 1e6:.1f} MB); open it at https://ui.perfetto.dev"
    for line in (head, *event.table.splitlines()):
        state = replace(state, log=logged(state, event, "info", "profile", line))
    return state


def _data_loaded(state: RunState, event: DataLoaded) -> RunState:
    data = event.data
    message = f"{data.num_train} problems, {data.num_eval} held out, {len(data.rejected)} kept out"
    return replace(state, data=data, log=logged(state, event, "info", "data", message))


def _failed(state: RunState, event: TrainerFailed) -> RunState:
    message = f"step {event.step}: {event.kind}: {event.message}"
    acts = tuple(a for a in state.acts if a.step <= state.last_step)  # the step is taken again without them
    return replace(
        state,
        failure=event,
        mode=Mode.FAILED,
        acts=acts,
        log=logged(state, event, "error", "engine", message),
    )


def _breakpoint_hit(state: RunState, event: BreakpointHit) -> RunState:
    hit = event.hit
    found = f": {hit.matches[0].sentence}" if hit.matches else ""
    more = f" and {len(hit.matches) - 1} more" if len(hit.matches) > 1 else ""
    message = f"stopped by '{hit.breakpoint}' in step {hit.step}{found}{more}"
    return replace(state, hit=hit, log=logged(state, event, "info", "break", message))


def _act_taken(state: RunState, event: ActTaken) -> RunState:
    note = f" ({event.note})" if event.note else ""
    return replace(
        state,
        acts=(*state.acts, event),
        log=logged(state, event, "info", "act", f"step {event.step}: {event.sentence}{note}"),
    )


def _request_failed(state: RunState, event: RequestFailed) -> RunState:
    message = f"{event.request}: {event.message}"
    return replace(state, log=logged(state, event, "error", "request", message))


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
        log=logged(state, event, "info", "tune", message),
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
    return replace(state, receipt=receipt, log=logged(state, event, "info", "receipt", message))


def _update_chosen(state: RunState, event: UpdateChosen) -> RunState:
    changes = ", ".join(f"{key} = {text}" for key, text in event.choice.changes)
    message = f"update {event.step} is taken as {event.choice.name}: {changes}"
    if not changes:
        message = f"update {event.step} is taken under the run's own settings"
    return replace(
        state,
        update_choice=event if changes else None,
        log=logged(state, event, "info", "act", message),
    )


def _preflight_done(state: RunState, event: PreflightDone) -> RunState:
    report = event.report
    message = (
        f"probe: {report.num_dead} of {len(report.groups)} groups dead, {report.num_truncated} of "
        f"{report.num_completions} responses cut, mean reward {report.mean_reward:.3f}"
    )
    return replace(state, preflight=event, log=logged(state, event, "info", "pre-flight", message))


def _fit_measured(state: RunState, event: FitMeasured) -> RunState:
    report = event.report
    message = (
        f"fit: up to {report.max_tokens_per_microbatch} tokens a microbatch, a worst step takes about "
        f"{report.seconds_per_step:.1f} s"
        if report.fits
        else "fit: the worst step does not fit in memory"
    )
    level = "info" if report.fits else "warning"
    return replace(state, fit=event, log=logged(state, event, level, "pre-flight", message))


def _probe_pinned(state: RunState, event: ProbePinned) -> RunState:
    others = tuple(probe for probe in state.probes if probe.probe != event.probe)
    often = "every step" if event.every == 1 else f"every {event.every} steps"
    message = f"probe {event.probe} pinned, read {often}: {' '.join(event.problem.question.split())[:80]}"
    return replace(state, probes=(*others, event), log=logged(state, event, "info", "probes", message))


def _probe_unpinned(state: RunState, event: ProbeUnpinned) -> RunState:
    left = tuple(probe for probe in state.probes if probe.probe != event.probe)
    message = f"probe {event.probe} is read no more"
    return replace(state, probes=left, log=logged(state, event, "info", "probes", message))


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
        log=logged(state, event, "info", "order", message),
    )


def _disputed(state: RunState, event: VerdictDisputed) -> RunState:
    where = f"step {event.step} g{event.group + 1}·r{event.completion + 1}"
    message = (
        f"{where}: verdict {event.was} disputed, should be {event.should_be}: {event.case} in {event.path}"
    )
    return replace(
        state, disputes=(*state.disputes, event), log=logged(state, event, "info", "verifier", message)
    )


def _reverified(state: RunState, event: Reverified) -> RunState:
    message = event.message or (
        f"{event.num_answers} answers judged again under {event.rules}: {len(event.flips)} verdicts differ "
        f"({event.seconds:.1f} s)"
    )
    return replace(
        state,
        reverified=event,
        log=logged(state, event, "error" if event.message else "info", "verifier", message),
    )


def _revised(state: RunState, event: VerdictsRevised) -> RunState:
    message = f"{len(event.flips)} verdicts under {event.rules} stored beside the recorded ones"
    return replace(
        state,
        revised=MappingProxyType({flip.place: flip for flip in event.flips}),
        revised_rules=event.rules,
        log=logged(state, event, "info", "verifier", message),
    )


def _ended(state: RunState, event: RunEnded) -> RunState:
    mode = {"finished": Mode.FINISHED, "failed": Mode.FAILED}.get(event.reason, Mode.STOPPED)
    message = f"{event.reason} after step {event.finished_steps}"
    return replace(
        state, ended=event, mode=mode, checking=None, log=logged(state, event, "info", "run", message)
    )


_HANDLERS: dict[type[Event], Callable[[RunState, Any], RunState]] = {
    RunStarted: run_started,
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
        state, log=logged(state, event, event.level, event.source, event.message)
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
    WentTo: went_to,
    BranchStarted: branch_started,
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
