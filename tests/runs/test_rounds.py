"""A step whose groups grow and are replaced, and what the update says of every token: the file agrees with the screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grpo_tui.events.fold import reduce
from grpo_tui.events.records import (
    CriticReport,
    GroupRecord,
    Phase,
    TrustRegionReport,
    UpdateReport,
    WorstToken,
)
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    AdvantagesComputed,
    Event,
    GroupSampled,
    GroupScored,
    PhaseFinished,
    PhaseStarted,
    ReferenceComputed,
    StepFinished,
    StepStarted,
    TokensWeighed,
)
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from rewards.base import Verdict
from tests.events.builders import ending, fingerprint, fold, group, metrics, opening, score

TOKENS = 5


def scored(step: int, record: GroupRecord) -> tuple[GroupRecord, GroupScored]:
    """The group with a reward on every completion, and the event that says so."""
    completions = tuple(
        replace(c, reward=c.index % 2, scores={"math": score(c.index % 2, Verdict.CORRECT)})
        for c in record.completions
    )
    told = GroupScored(
        time=1.0,
        step=step,
        group_index=record.index,
        rewards_G=tuple(float(c.reward or 0) for c in completions),
        scores_G=tuple(dict(c.scores) for c in completions),
    )
    return replace(record, completions=completions), told


def rounds(step: int, *, ratios: bool, by_token: bool, grows: bool = True) -> list[Event]:
    """Group 0 grows from 2 to 4, group 1 is replaced by another prompt's; then everything an update tells.

    Without growing, both come whole in one round.
    """
    rng = np.random.default_rng(step)
    small, dead, other = group(rng, 0, 2, TOKENS), group(rng, 1, 2, TOKENS), group(rng, 1, 2, TOKENS)
    extra = tuple(
        replace(c, index=2 + i, round=1) for i, c in enumerate(group(rng, 0, 2, TOKENS).completions)
    )
    small_scored, told_small = scored(step, small)
    grown = replace(small_scored, completions=(*small_scored.completions, *extra))
    _, told_dead = scored(step, dead)
    if not grows:
        grown = group(rng, 0, 4, TOKENS)
    _, told_grown = scored(step, grown)
    _, told_other = scored(step, other)

    def numbers() -> tuple[tuple[np.ndarray, ...], ...]:
        return tuple(tuple(rng.random(TOKENS, dtype=np.float32) for _ in range(size)) for size in (4, 2))

    events: list[Event] = [StepStarted(time=1.0, step=step)]
    first_round: list[tuple[Phase, list[Event]]] = [
        (Phase.SAMPLE, [GroupSampled(time=1.0, step=step, group=g) for g in (small, dead)]),
        (Phase.SCORE, [told_small, told_dead]),
    ]
    for phase, inside in (
        *(first_round if grows else ()),
        (Phase.SAMPLE, [GroupSampled(time=1.0, step=step, group=g) for g in (grown, other)]),
        (Phase.SCORE, [told_grown, told_other]),
        (
            Phase.ADVANTAGES,
            [
                AdvantagesComputed(
                    time=1.0,
                    step=step,
                    advantages_P_G=((0.5, -0.5, 0.25, -0.25), (1.0, -1.0)),
                    advantages_P_G_T=numbers() if by_token else (),
                )
            ],
        ),
        (Phase.REFERENCE, [ReferenceComputed(time=1.0, step=step, kl_ref_P_G=numbers())]),
        (
            Phase.EMIT,
            [
                TokensWeighed(
                    time=1.0, step=step, weights_P_G=numbers(), ratios_P_G=numbers() if ratios else ()
                )
            ],
        ),
    ):
        events += [PhaseStarted(time=1.0, step=step, phase=phase), *inside]
        events += [PhaseFinished(time=1.0, step=step, phase=phase, seconds=0.25)]
    return [*events, StepFinished(time=2.0, metrics=metrics(step, update=report()))]


def report() -> UpdateReport:
    worst = WorstToken(value=1.5, group=1, completion=0, token=3, text="½")
    return UpdateReport(
        ratio_quantiles={"0": 0.5, "0.5": 1.0, "1": 1.5},
        clip_fraction_low=0.1,
        clip_fraction_high=0.2,
        kl_ref_worst=worst,
        kl_old_worst=None,
        grad_norm_by_module={"layers.0.q_proj": 0.25},
        explanations=("Nothing moved: the learning rate is 0.",),
        kl_step=1e-3,
        gradient_variance=2.0,
        gradient_signal=-0.5,
        critic=CriticReport(
            value_loss=0.1,
            explained_variance=float("nan"),
            value_mean=0.0,
            return_mean=0.5,
            grad_norm=1.0,
            warming_up=True,
        ),
        trust_region=TrustRegionReport(
            accepted=False,
            kl=0.02,
            kl_limit=0.01,
            surrogate_gain=-1e-9,
            num_tries=10,
            scale=0.0,
            num_positions=40,
            step_norm=0.3,
        ),
    )


KINDS = pytest.mark.parametrize(
    ("ratios", "by_token"), [(False, False), (True, False), (False, True), (True, True)]
)


@KINDS
def test_the_file_agrees_with_the_screen_after_every_event(
    writer: RunWriter, run_dir: Path, ratios: bool, by_token: bool
) -> None:
    # Seen to fail: TokensWeighed left out of the events that are rebuilt.
    state = RunState()
    for event in (
        *opening(),
        *rounds(1, ratios=ratios, by_token=by_token),
        *rounds(2, ratios=ratios, by_token=by_token),
        *ending(2),
    ):
        writer.write(event)
        writer.flush()
        state = reduce(state, event)
        with RunReader(run_dir) as reader:
            assert fingerprint(reader.load_state()) == fingerprint(state)
            assert fingerprint(fold(event for _, event in reader.events())) == fingerprint(state)


@KINDS
def test_a_step_comes_back_exactly(writer: RunWriter, run_dir: Path, ratios: bool, by_token: bool) -> None:
    events = rounds(1, ratios=ratios, by_token=by_token)
    for event in events:
        writer.write(event)
    writer.flush()
    live = fold(events).recent[-1]
    with RunReader(run_dir) as reader:
        stored = reader.load_step(1)
        assert fingerprint(stored) == fingerprint(live)
        [weighed] = [e for _, e in reader.events() if isinstance(e, TokensWeighed)]
        assert fingerprint(weighed) == fingerprint(next(e for e in events if isinstance(e, TokensWeighed)))
    assert stored is not None
    grown, other = stored.groups
    assert [c.round for c in grown.completions] == [0, 0, 1, 1]
    assert len(other.completions) == 2
    for completion in (*grown.completions, *other.completions):
        assert completion.weight_T is not None
        assert (completion.ratio_T is not None) == ratios
        assert (completion.advantages_T is not None) == by_token


@KINDS
def test_events_of_one_round_come_back_exactly(
    writer: RunWriter, run_dir: Path, ratios: bool, by_token: bool
) -> None:
    # Seen to fail: weights left on the completions of a sampled group that is rebuilt.
    events = rounds(1, ratios=ratios, by_token=by_token, grows=False)
    for event in events:
        writer.write(event)
    writer.flush()
    with RunReader(run_dir) as reader:
        stored = [event for _, event in reader.events()]
    assert [fingerprint(event) for event in stored] == [fingerprint(event) for event in events]


def test_a_step_without_an_update_has_no_weights(writer: RunWriter, run_dir: Path) -> None:
    events = [e for e in rounds(1, ratios=True, by_token=False) if not isinstance(e, TokensWeighed)]
    for event in events:
        writer.write(event)
    writer.flush()
    with RunReader(run_dir) as reader:
        stored = reader.load_step(1)
        assert fingerprint(stored) == fingerprint(fold(events).recent[-1])
    assert stored is not None
    assert all(c.weight_T is None and c.ratio_T is None for g in stored.groups for c in g.completions)
