"""Breakpoints in the engine: which there are, and whether a step meets one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from grpo_tui.events.breakpoints import Breakpoint, Hit, check_breakpoint, find_hit
from grpo_tui.events.commands import RemoveBreakpoint, SetBreakpoint
from grpo_tui.events.conditions import parse_condition
from grpo_tui.events.records import GroupRecord, Phase
from grpo_tui.events.types import BreakpointHit, BreakpointsChanged

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer


class Breaker:
    """The breakpoints of a trainer. Without any, asking costs one look at an empty list."""

    def __init__(self, breakpoints: Sequence[Breakpoint] = ()) -> None:
        self.breakpoints = list(breakpoints)
        self._step = 0
        self._already: set[int] = set()

    def meets(self, trainer: Trainer, step: int, phase: Phase, *, after: bool) -> Hit | None:
        """What makes the run stop before (or after) a phase of a step, told as an event; None: it goes on."""
        if not self.breakpoints:
            return None
        # A step that was left can come again.
        if step != self._step or (phase is Phase.PROBLEMS and not after):
            self._step, self._already = step, set()
        hit = self._after(step, phase) if after else self._before(trainer, step, phase)
        if hit is not None:
            if hit.breakpoint.once:
                self.breakpoints = [b for b in self.breakpoints if b.id != hit.breakpoint.id]
                self._tell(trainer)
            trainer.emit(BreakpointHit(time=time.time(), hit=hit))
        return hit

    def _after(self, step: int, phase: Phase) -> Hit | None:
        for breakpoint in self.breakpoints:
            if breakpoint.enabled and breakpoint.after and breakpoint.phase is phase:
                return Hit(breakpoint=breakpoint, step=step, phase=phase)
        return None

    def _before(self, trainer: Trainer, step: int, phase: Phase) -> Hit | None:
        last = trainer.last_metrics
        before = last if last is not None and last.step == step - 1 else None
        return find_hit(self.breakpoints, step, phase, self._groups(trainer), before, self._already)

    def _groups(self, trainer: Trainer) -> Sequence[GroupRecord]:
        """The groups as far as they are known; with kl_ref where a condition reads it."""
        now = trainer.in_progress
        if now is None:
            return ()
        groups = now.groups or [place.group for place in now.rollout.places if place.group is not None]
        if now.prepared and any(_reads_kl_ref(b) for b in self.breakpoints):
            return _with_kl_ref(groups, now.rows)
        return groups

    def set(self, trainer: Trainer, request: SetBreakpoint) -> None:
        """Set or change one.

        Raises:
            ValueError: its condition cannot be read, or it names no phase.
        """
        number = request.id or max((b.id for b in self.breakpoints), default=0) + 1
        try:
            phase = Phase(request.phase) if request.phase else None
        except ValueError:
            raise ValueError(f"no phase {request.phase!r:.40}; there are {', '.join(Phase)}") from None
        breakpoint = Breakpoint(
            id=number,
            condition=request.condition.strip(),
            phase=phase,
            after=request.after,
            enabled=request.enabled,
            once=request.once,
        )
        check_breakpoint(breakpoint)
        others = [b for b in self.breakpoints if b.id != number]
        self.breakpoints = sorted([*others, breakpoint], key=lambda b: b.id)
        self._already.discard(number)
        self._tell(trainer)

    def remove(self, trainer: Trainer, number: int) -> None:
        """Take one away.

        Raises:
            ValueError: there is none of that number.
        """
        if all(b.id != number for b in self.breakpoints):
            raise ValueError(f"there is no breakpoint {number}")
        self.breakpoints = [b for b in self.breakpoints if b.id != number]
        self._tell(trainer)

    def _tell(self, trainer: Trainer) -> None:
        trainer.emit(BreakpointsChanged(time=time.time(), breakpoints=tuple(self.breakpoints)))


def set_breakpoint(trainer: Trainer, request: SetBreakpoint) -> None:
    """Carry out a :class:`SetBreakpoint`."""
    trainer.breaker.set(trainer, request)


def remove_breakpoint(trainer: Trainer, request: RemoveBreakpoint) -> None:
    """Carry out a :class:`RemoveBreakpoint`."""
    trainer.breaker.remove(trainer, request.id)


def _reads_kl_ref(breakpoint: Breakpoint) -> bool:
    if not (breakpoint.enabled and breakpoint.condition):
        return False
    return any("kl_ref" in name.name for name in parse_condition(breakpoint.condition).names)


def _with_kl_ref(groups: Sequence[GroupRecord], rows: Sequence[object]) -> list[GroupRecord]:
    from grpo_tui.engine.rows import Row
    from grpo_tui.ops.kl import k3

    known = {(row.group, row.index): row for row in rows if isinstance(row, Row)}
    filled = []
    for group in groups:
        completions = []
        for completion in group.completions:
            row = known.get((group.index, completion.index))
            if row is not None and row.ref_logprobs_T is not None:
                kl_ref_T = k3(row.sampled_logprobs_T - row.ref_logprobs_T).float().cpu().numpy()
                completion = replace(completion, kl_ref_T=kl_ref_T)
            completions.append(completion)
        filled.append(replace(group, completions=tuple(completions)))
    return filled
