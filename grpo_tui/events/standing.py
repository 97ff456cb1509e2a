"""The part of the fold that says which line is shown and how far: what a start, a journey and a fork leave aside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol, TypeVar

from grpo_tui.events import settings
from grpo_tui.events.lines import common_step, holder
from grpo_tui.events.records import BranchRecord, Mode
from grpo_tui.events.state import LeftSteps, RunState, logged
from grpo_tui.events.types import ActTaken, BranchStarted, RunStarted, SettingsChanged, WentTo


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
    # Acts on a step that was not finished are gone with it: it is taken again without them.
    finished = tuple(act for act in state.acts if act.step <= state.last_step)
    acts, left_acts = _share(
        state, branch, step, _by_step(finished), [_by_step(one.acts) for one in left_behind]
    )
    left_changes: dict[int, tuple[SettingsChanged, ...]] = {}
    for change in elsewhere:
        left_changes[change.branch] = (*left_changes.get(change.branch, ()), change)
    left = {
        other: LeftSteps(
            history=left_history.get(other, ()),
            evals=left_evals.get(other, ()),
            checkpoints=left_saved.get(other, ()),
            settings_changes=left_changes.get(other, ()),
            acts=_flat(left_acts.get(other, ())),
        )
        for other in sorted({*left_history, *left_evals, *left_saved, *left_changes, *left_acts})
    }
    return replace(
        state,
        branch=branch,
        history=history,
        evals=evals,
        checkpoints=saved,
        recent=tuple(d for d in state.recent if d.step <= shared),
        settings_changes=here,
        acts=_flat(acts),
        left=MappingProxyType(left),
    )


@dataclass(frozen=True, slots=True)
class _ActsOfStep:
    """All acts on one step, oldest first."""

    step: int
    acts: tuple[ActTaken, ...]


def _by_step(acts: Iterable[ActTaken]) -> tuple[_ActsOfStep, ...]:
    of_step: dict[int, list[ActTaken]] = {}
    for act in acts:
        of_step.setdefault(act.step, []).append(act)
    return tuple(_ActsOfStep(step, tuple(found)) for step, found in sorted(of_step.items()))


def _flat(bundles: Iterable[_ActsOfStep]) -> tuple[ActTaken, ...]:
    return tuple(act for bundle in bundles for act in bundle.acts)


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


def went_to(state: RunState, event: WentTo) -> RunState:
    """The run stands at the end of another step."""
    state = forget_updates(_stand_at(state, event.branch, event.step), event.step + 1)
    message = f"{event.how}: at the end of step {event.step} on {state.branch_label}"
    if event.left_step:
        message += f", step {event.left_step} was left"
    return replace(
        state,
        current=None,
        phase=None,
        phase_seconds=MappingProxyType({}),
        went=event,
        log=logged(state, event, "info", "history", f"{message} · state {event.state_hash[:12]}"),
    )


def branch_started(state: RunState, event: BranchStarted) -> RunState:
    """Steps go on upon a branch of their own."""
    record = BranchRecord(
        branch=event.branch, parent=event.parent, fork_step=event.fork_step, name=event.name
    )
    others = tuple(known for known in state.branches if known.branch != event.branch)
    state = _stand_at(replace(state, branches=(*others, record)), event.branch, event.fork_step)
    message = f"{record.label} goes off after step {event.fork_step} of {state.label_of(event.parent)}"
    return replace(state, log=logged(state, event, "info", "history", message))


def back_to(state: RunState, finished_steps: int) -> RunState:
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


def run_started(state: RunState, event: RunStarted) -> RunState:
    """A process took the run up: what came after the step it goes on from is left."""
    verb = "resumed after step" if event.finished_steps else "started, step"
    message = f"{event.name} {verb} {event.finished_steps} of {event.total_steps}"
    if event.branch not in state.tree:  # later steps had no state to go on from, and were left
        gone_off = BranchRecord(branch=event.branch, parent=state.branch, fork_step=event.finished_steps)
        state = replace(state, branches=(*state.branches, gone_off))
    if event.branch == state.branch:
        state = back_to(state, event.finished_steps)
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
        log=logged(state, event, "info", "run", message),
    )


def forget_updates(state: RunState, step: int) -> RunState:
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
