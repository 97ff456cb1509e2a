"""Breakpoints: where a run stops by itself, and what of a step made it stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from grpo_tui.events.conditions import Condition, ConditionError, Name, holds, parse_condition
from grpo_tui.events.measures import NAMES, nearest
from grpo_tui.events.records import GroupRecord, Phase, StepMetrics

CONDITIONS_AT = (Phase.ADVANTAGES, Phase.REFERENCE, Phase.UPDATE)
"""Before which phases conditions are asked: rewards are known before the first, kl_ref before the last. All of them
come before the update is applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakpoint:
    """Stops the run before or after a phase, or before the update of a step for which a condition holds."""

    id: int
    condition: str = ""
    """In the language of :mod:`grpo_tui.events.conditions`; empty for a plain stop at a phase."""
    phase: Phase | None = None
    """For a plain stop: at which phase."""
    after: bool = False
    """Behind the phase instead of before it."""
    enabled: bool = True
    once: bool = False
    """Goes away when it is hit."""

    def __str__(self) -> str:
        if self.condition:
            return self.condition
        return f"{'after' if self.after else 'before'} {self.phase}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """What made a run stop."""

    breakpoint: Breakpoint
    step: int
    phase: Phase
    """Before which phase the engine stands."""
    matches: tuple[Match, ...] = ()

    @property
    def where(self) -> str:
        """``before UPDATE of step 47``."""
        if self.breakpoint.after and self.breakpoint.phase is not None:
            return f"after {self.breakpoint.phase.upper()} of step {self.step}"
        return f"before {self.phase.upper()} of step {self.step}"

    @property
    def found(self) -> str:
        """What matched, the first of it in numbers; empty for a plain stop at a phase."""
        if not self.matches:
            return ""
        more = len(self.matches) - 1
        least = "at least " if len(self.matches) == MAX_MATCHES else ""
        return f"{self.matches[0].sentence}{f' (+{least}{more} more)' if more else ''}"

    def __str__(self) -> str:
        return f"stopped {self.where} by '{self.breakpoint}'{': ' if self.found else ''}{self.found}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One thing for which a condition holds, and the numbers that made it hold."""

    sentence: str
    group: int | None = None
    completion: int | None = None


MAX_MATCHES = 20
"""How many matches of one condition are told."""

_parsed = cache(parse_condition)


def find_matches(
    condition: Condition, groups: Sequence[GroupRecord], before: StepMetrics | None
) -> tuple[Match, ...]:
    """Ask a condition of a step: what it matches, at most :data:`MAX_MATCHES`; empty where it does not hold.

    Args:
        condition: as parsed.
        groups: of the step, as far as they are known.
        before: metrics of the step before, for changes; None: there is none.
    """
    if condition.scope == "step":
        things: Iterator[tuple[object, int | None, int | None]] = iter([(groups, None, None)])
    elif condition.scope == "group":
        things = ((group, group.index, None) for group in groups)
    else:
        things = ((c, group.index, c.index) for group in groups for c in group.completions)
    found: list[Match] = []
    num_things = num_held = num_failed = 0
    for thing, group, completion in things:
        values = _Values(condition, thing, before)
        num_things += 1
        held = holds(condition.body, values)
        num_failed += held is False
        if held:
            num_held += 1
            if len(found) < MAX_MATCHES:
                found.append(
                    Match(
                        sentence=_place(group, completion) + values.sentence(),
                        group=group,
                        completion=completion,
                    )
                )
    if condition.quantifier == "all":
        return tuple(found) if num_held == num_things > 0 else ()
    if condition.quantifier == "no":
        return (
            (Match(sentence=f"no {condition.scope} of {num_things}"),) if num_failed == num_things > 0 else ()
        )
    return tuple(found)


def find_hit(
    breakpoints: Sequence[Breakpoint],
    step: int,
    phase: Phase,
    groups: Sequence[GroupRecord],
    before: StepMetrics | None,
    already: set[int],
) -> Hit | None:
    """The first breakpoint that a step meets before a phase; each condition at most once a step (``already``)."""
    for breakpoint in breakpoints:
        if not breakpoint.enabled:
            continue
        if not breakpoint.condition:
            if breakpoint.phase is phase and not breakpoint.after:
                return Hit(breakpoint=breakpoint, step=step, phase=phase)
        elif phase in CONDITIONS_AT and breakpoint.id not in already:
            matches = find_matches(_parsed(breakpoint.condition), groups, before)
            if matches:
                already.add(breakpoint.id)
                return Hit(breakpoint=breakpoint, step=step, phase=phase, matches=matches)
    return None


class _Values:
    """Values of the names of a condition for one thing, each read at most once."""

    def __init__(self, condition: Condition, thing: object, before: StepMetrics | None) -> None:
        self._condition, self._thing, self._before = condition, thing, before
        self._known: dict[Name, float | None] = {}

    def __call__(self, name: Name) -> float | None:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: Name) -> float | None:
        measure = NAMES[self._condition.scope][name.name]
        value = measure.read(self._thing, name.word) if name.word else measure.read(self._thing)
        if not name.change or value is None:
            return value
        earlier = measure.before(self._before) if measure.before and self._before is not None else None
        return None if earlier is None else value - earlier

    def sentence(self) -> str:
        """What was read, as ``sd = 0, mean_length = 160``."""
        known = {name: value for name, value in self._known.items() if value is not None}
        return ", ".join(f"{name} = {value:.4g}" for name, value in known.items())


def _place(group: int | None, completion: int | None) -> str:
    if group is None:
        return ""
    return f"g{group + 1}: " if completion is None else f"g{group + 1}·r{completion + 1}: "


def read_breakpoint(text: str) -> Breakpoint:
    """A breakpoint as a person writes one: ``before update``, ``after sample``, or a condition. Its id is 0.

    Raises:
        ConditionError: at the column where reading failed, with what was expected.
    """
    body = text.strip()
    when, _, name = body.partition(" ")
    if when not in ("before", "after"):
        return Breakpoint(id=0, condition=parse_condition(text).text)
    column = len(text) - len(text.lstrip()) + len(body) - len(name.strip())
    phases = [phase for phase in Phase if when == "after" or phase is not Phase.EMIT]
    for phase in phases:
        if name.strip() == phase:
            return Breakpoint(id=0, phase=phase, after=when == "after")
    if name.strip() == Phase.EMIT:
        raise ConditionError(column, "emit follows the update at once: stop after update instead")
    raise ConditionError(
        column, f"expected a phase after {when} ({', '.join(phases)}){nearest(name.strip(), phases)}"
    )


def check_breakpoint(breakpoint: Breakpoint) -> None:
    """Raise ValueError for one that cannot be: an unreadable condition, or neither condition nor phase."""
    if breakpoint.condition:
        parse_condition(breakpoint.condition)
    elif breakpoint.phase is None:
        raise ValueError("a breakpoint needs a condition or a phase")
