"""Moments of a scripted run at which a person stops it and changes a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from grpo_tui.events.breakpoints import Breakpoint, Hit, Match
from grpo_tui.events.records import CompletionRecord, GroupRecord, Mode, Phase
from grpo_tui.events.types import (
    ActTaken,
    BreakpointHit,
    BreakpointsChanged,
    Event,
    GroupSampled,
    ModeChanged,
    PhaseStarted,
    ResponseForked,
)
from rewards.base import Explanation, Score, Verdict
from tests.support.apps import HISTORY, mid_training
from tests.support.builders import T0, ScriptedRun, make_completion

STEP = HISTORY + 1
DEAD = Breakpoint(id=1, condition="any group: dead")


def until(script: ScriptedRun, phase: Phase) -> list[Event]:
    """38 finished steps, and step 39 up to where this phase would begin; the engine runs."""
    events: list[Event] = []
    for event in mid_training(script):
        if isinstance(event, PhaseStarted) and event.step == STEP and event.phase is phase:
            break
        events.append(event)
    return [*events, script.ready(Mode.RUNNING, "")]


def hit_at(
    phase: Phase = Phase.UPDATE,
    matches: Sequence[Match] = (),
    breakpoint: Breakpoint = DEAD,
    step: int = STEP,
) -> list[Event]:
    """The run stops before a phase."""
    hit = Hit(breakpoint=breakpoint, step=step, phase=phase, matches=tuple(matches))
    return [
        BreakpointHit(time=T0, hit=hit),
        ModeChanged(time=T0, mode=Mode.PAUSED, detail=f"before {phase}"),
    ]


def stopped(script: ScriptedRun, phase: Phase = Phase.UPDATE, matches: Sequence[Match] = ()) -> list[Event]:
    """Stopped by 'any group: dead' in step 39."""
    found = matches or (Match(sentence="g5: dead = 1", group=4), Match(sentence="g6: dead = 1", group=5))
    return [
        *until(script, phase),
        BreakpointsChanged(time=T0, breakpoints=(DEAD,)),
        *hit_at(phase, found),
    ]


def act(
    act: str, sentence: str, *, group: int = 2, completion: int | None = 1, note: str = "", step: int = STEP
) -> ActTaken:
    """One act of step 39."""
    return ActTaken(
        time=T0, step=step, act=act, group=group, completion=completion, sentence=sentence, note=note
    )


def changed(group: GroupRecord, completion: int, **fields: object) -> GroupSampled:
    """A group in which one response is another."""
    completions = tuple(
        replace(c, **fields) if c.index == completion else c  # type: ignore[arg-type]
        for c in group.completions
    )
    return GroupSampled(time=T0, step=STEP, group=replace(group, completions=completions))


def forked(
    mine: CompletionRecord,
    group: GroupRecord,
    *,
    token: int,
    right: Iterable[int],
    instead: int | None = None,
) -> ResponseForked:
    """Eight continuations a side: of those before the token, this many are right, of those after it, that many."""
    before, after, *other = right

    def side(num_right: int, shared: int) -> GroupRecord:
        return replace(group, completions=tuple(_ending(mine, i, i < num_right, shared) for i in range(8)))

    return ResponseForked(
        time=T0,
        step=STEP,
        group=group.index,
        completion=mine.index,
        token=token,
        before=side(before, token),
        after=side(after, token + 1),
        instead=side(other[0], token) if other else None,
        instead_id=instead,
        seconds=3.2,
    )


def _ending(mine: CompletionRecord, index: int, right: bool, shared: int) -> CompletionRecord:
    """The same tokens up to a place, then others."""
    at = int(mine.token_offsets_T[shared]) if shared < mine.num_tokens else len(mine.text)
    tail = make_completion(index, f"other ending {index}")
    verdict = Verdict.CORRECT if right else Verdict.WRONG
    score = Score(value=float(right), verdict=verdict, explanation=Explanation(sentence="judged"))
    return replace(
        tail,
        text=mine.text[:at] + tail.text,
        token_ids_T=np.concatenate([mine.token_ids_T[:shared], tail.token_ids_T + 1000]),
        token_offsets_T=np.concatenate([mine.token_offsets_T[:shared], tail.token_offsets_T + at]),
        logprobs_T=np.concatenate([mine.logprobs_T[:shared], tail.logprobs_T]),
        entropies_T=np.concatenate([mine.entropies_T[:shared], tail.entropies_T]),
        reward=float(right),
        scores={"math": score},
    )
