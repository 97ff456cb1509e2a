"""Completions that have ended are handed to the reward while others are drawn; what is told, and when, stays the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from grpo_tui.engine import early_judging
from grpo_tui.engine.control import Control, Gate, StopRequested
from grpo_tui.engine.step import run_step
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import Stop
from grpo_tui.events.records import Phase
from grpo_tui.events.types import Event, GroupSampled, GroupScored, PhaseFinished, PhaseStarted
from grpo_tui.generation.fast import FastSampler
from rewards.base import MeasuringReward, Sample, Score, Verdict
from rewards.compose import WeightedReward
from rewards.math_verifier import MathVerifier
from tests.engine.support import Events, free_gate, small_config, trainer_of

CONFIG = small_config("sampling.prompts_per_step=4", "sampling.max_completion_tokens=24")


class Recorder(MeasuringReward):
    """Writes down what it is handed, and when."""

    name = "recorder"
    asks_workers = True

    def __init__(self, events: Events) -> None:
        self.events = events
        self.handed: list[tuple[str, Sample]] = []
        self.scored: list[Sample] = []
        self.dropped = 0

    def begin(self, samples: Sequence[Sample]) -> None:
        phase = [e.phase for e in self.events.of(PhaseStarted)][-1]
        assert len(self.events.of(PhaseFinished)) == 1, "sampling has not ended"
        self.handed += [(phase, sample) for sample in samples]

    def drop_begun(self) -> None:
        self.dropped += 1

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        self.scored += samples
        return super().score(samples)

    def _score(self, sample: Sample) -> Score:
        from rewards.base import Explanation

        value = float(len(sample.completion) % 5)
        return Score(value=value, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence="counted"))


@pytest.fixture(autouse=True)
def look_at_each_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_judging, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(early_judging, "has_idle_processors", lambda _device: True)


@pytest.fixture
def scene() -> Iterator[tuple[Trainer, Recorder, Events]]:
    """Two rows' worth of places, so that groups end one after the other."""
    events = Events()
    with trainer_of(CONFIG, events) as trainer:
        events.clear()
        recorder = Recorder(events)
        trainer.reward = WeightedReward([(recorder, 1.0)])
        trainer.sampler = FastSampler(trainer.policy, max_rows=4)
        yield trainer, recorder, events


def test_completions_are_handed_over_as_they_will_be_scored(scene: tuple[Trainer, Recorder, Events]) -> None:
    """Seen to fail with: another finish reason; special tokens in the text; the metadata left out; another's problem."""
    trainer, recorder, events = scene
    run_step(trainer, free_gate(trainer))
    assert {phase for phase, _ in recorder.handed} == {Phase.SAMPLE}
    handed = [sample for _, sample in recorder.handed]
    assert 4 <= len(handed) < 16
    assert len(recorder.scored) == 16
    left = list(recorder.scored)
    for sample in handed:
        left.remove(sample)  # once each
    assert {sample.finish_reason for sample in handed} == {"stop", "length"}
    assert [g.group_index for g in events.of(GroupScored)] == [0, 1, 2, 3]
    kinds = [type(event) for event in events if isinstance(event, GroupSampled | GroupScored)]
    assert kinds == [GroupSampled] * 4 + [GroupScored] * 4


@pytest.mark.parametrize("why_not", ["processors are busy", "no answer needs a worker"])
def test_nothing_is_handed_over_where_it_gains_nothing(
    scene: tuple[Trainer, Recorder, Events], why_not: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, recorder, _ = scene
    if why_not == "processors are busy":
        monkeypatch.setattr(early_judging, "has_idle_processors", lambda _device: False)
    else:
        monkeypatch.setattr(Recorder, "asks_workers", False)
    run_step(trainer, free_gate(trainer))
    assert not recorder.handed
    assert len(recorder.scored) == 16


def test_looks_are_seldom(scene: tuple[Trainer, Recorder, Events], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, recorder, _ = scene
    monkeypatch.setattr(early_judging, "LOOK_SECONDS", 1e9)
    run_step(trainer, free_gate(trainer))
    assert not recorder.handed


def test_a_step_that_is_left_leaves_nothing_begun(scene: tuple[Trainer, Recorder, Events]) -> None:
    """Seen to fail with: dropped at the end of whole steps only."""
    trainer, recorder, _ = scene
    control = Control(start_paused=False)
    gate = Gate(control, trainer.emit)
    tick = gate.tick

    def stopped(where: str) -> None:
        if recorder.handed:
            control.send(Stop())
        tick(where)

    gate.tick = stopped  # type: ignore[method-assign]
    with pytest.raises(StopRequested):
        run_step(trainer, gate)
    assert recorder.handed
    assert not recorder.scored
    assert recorder.dropped == 1


def test_with_the_verifier_all_that_is_told_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer goes to a worker. Seen to fail with: results kept under another key, which the count shows."""
    monkeypatch.setattr(MathVerifier, "_judge_here", lambda _self, _sample: None)
    told, asked = [], []
    for is_idle in (False, True):
        monkeypatch.setattr(early_judging, "has_idle_processors", lambda _device, is_idle=is_idle: is_idle)
        events = Events()
        with trainer_of(CONFIG, events) as trainer:
            verifier = MathVerifier(workers=1, deadline_s=30.0)
            trainer.reward = WeightedReward([(verifier, 1.0)])
            trainer.sampler = FastSampler(trainer.policy, max_rows=4)
            verifier._num_evident = 0
            taken = verifier._early.take
            count = [0]

            def counted(keys: object, taken: object = taken, count: list[int] = count) -> object:
                found = taken(keys)  # type: ignore[operator]
                count[0] += len(found)
                return found

            monkeypatch.setattr(verifier._early, "take", counted)
            metrics = run_step(trainer, free_gate(trainer))
            trainer.reward.close()
        told.append(([_plain(event) for event in events.of(GroupScored)], metrics.state_hash))
        asked.append(count[0])
        assert not verifier._pool.pids()
    assert told[0] == told[1]
    assert asked[0] == 0
    assert asked[1] >= 4


def _plain(event: Event) -> object:
    """Rewards and sentences."""
    assert isinstance(event, GroupScored)
    scores = [(s.value, s.verdict, s.explanation.sentence) for part in event.scores_G for s in part.values()]
    return event.group_index, event.rewards_G, scores
