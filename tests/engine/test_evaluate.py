"""Held-out accuracy: when it is due, that it repeats itself, and its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.engine.evaluate import evaluate, is_due
from grpo_tui.engine.metrics import lenient_share
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.types import EvalFinished, Event
from grpo_tui.ops.intervals import wilson_interval
from grpo_tui.runs.reader import RunReader
from rewards.base import Explanation, Sample, Score, Verdict
from rewards.compose import ComposedScore
from tests.engine.support import (
    ALTERNATING,
    Events,
    free_gate,
    run_small,
    small_config,
    take_steps,
    trainer_of,
)

EVALUATED = ("eval.temperature=2", "eval.every=2", "eval.num_problems=6", "run.steps=5")


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    with trainer_of(small_config(*EVALUATED, reward=ALTERNATING), Events()) as trainer:
        yield trainer


@pytest.mark.parametrize(
    ("every", "steps", "due"),
    [(2, 5, [0, 2, 4, 5]), (1, 3, [0, 1, 2, 3]), (5, 5, [0, 5]), (9, 5, [0, 5]), (0, 5, [])],
)
def test_when_it_is_due(trainer: Trainer, every: int, steps: int, due: list[int]) -> None:
    config = trainer.config
    trainer.config = replace(
        config, eval=replace(config.eval, every=every), run=replace(config.run, steps=steps)
    )
    found = []
    for step in range(steps + 1):
        trainer.finished_steps = step
        found += [step] if is_due(trainer) else []
    trainer.config, trainer.finished_steps = config, 0
    assert found == due


@pytest.fixture
def given(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """Every sample that evaluations give to the reward."""
    given: list[Sample] = []
    score = trainer.reward.score

    def spy(samples: Sequence[Sample]) -> list[ComposedScore]:
        given.extend(samples)
        return score(samples)

    monkeypatch.setattr(trainer, "reward", type("Spy", (), {"score": staticmethod(spy)})())
    return given


def test_twice_the_same_and_apart_from_training(trainer: Trainer, given: list[Sample]) -> None:
    gate = free_gate(trainer)
    before = trainer.state_hash()
    first, second = evaluate(trainer, gate), evaluate(trainer, gate)
    assert given[:6] == given[6:]
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)
    assert trainer.state_hash() == before
    assert (first.step, first.num_problems, first.temperature) == (0, 6, 2.0)
    correct = round(first.accuracy * 6)
    assert (first.low, first.high) == wilson_interval(correct, 6)
    assert first.low <= first.accuracy <= first.high


def test_a_later_step_draws_from_the_same_streams(trainer: Trainer, given: list[Sample]) -> None:
    """Only the weights may differ: with the same weights at another step the answers are the same."""
    gate, config = free_gate(trainer), trainer.config
    evaluate(trainer, gate)
    trainer.finished_steps = 3
    assert evaluate(trainer, gate).step == 3
    trainer.finished_steps = 0
    trainer.config = replace(config, run=replace(config.run, seed=1))
    evaluate(trainer, gate)
    trainer.config = config
    assert given[:6] == given[6:12]
    assert given[:6] != given[12:]


def test_what_the_reward_is_given(trainer: Trainer, given: list[Sample]) -> None:
    """The held-out problems in order, with the lengths that rewards of length need."""
    evaluate(trainer, free_gate(trainer))
    assert [s.problem_id for s in given] == [p.problem.id for p in trainer.held_out]
    for sample in given:
        assert sample.metadata["max_tokens"] == "8"
        assert 1 <= int(sample.metadata["num_tokens"]) <= 8


def test_no_problem_is_both_trained_on_and_held_out(trainer: Trainer) -> None:
    assert not {p.text for p in trainer.prompts} & {p.text for p in trainer.held_out}


def test_it_does_not_change_what_is_trained() -> None:
    """A run with evaluations gives the weights of one without."""
    with trainer_of(small_config(*EVALUATED)) as trainer:
        gate = free_gate(trainer)
        for _ in range(2):
            evaluate(trainer, gate)
            take_steps(trainer, 1)
        evaluated = trainer.policy.adapter_state()
    with trainer_of(small_config()) as trainer:
        take_steps(trainer, 2)
        plain = trainer.policy.adapter_state()
    assert all(evaluated[name].equal(plain[name]) for name in plain)


def test_evaluations_of_a_run_come_when_due(tmp_path: Path) -> None:
    config = small_config("eval.every=2", "eval.num_problems=3", "run.steps=3", reward=ALTERNATING)
    _, events = run_small(config, tmp_path / "run")
    order = [name for name in events.names() if name in ("EvalFinished", "StepFinished")]
    assert order == ["EvalFinished", *["StepFinished"] * 2, "EvalFinished", "StepFinished", "EvalFinished"]
    assert [e.result.step for e in events.of(EvalFinished)] == [0, 2, 3]


def test_a_run_cut_short_in_an_evaluation_takes_it_again(tmp_path: Path) -> None:
    """And one whose evaluation is there does not."""
    config = small_config("eval.every=1", "eval.num_problems=3", "run.steps=2", reward=ALTERNATING)
    whole, expected = run_small(config, tmp_path / "whole")
    assert whole.reason == "finished"

    def fail_in_second(event: Event) -> None:
        if isinstance(event, EvalFinished) and event.result.step == 1:
            raise MemoryError

    # The screen's fault: the event is in the run file all the same, so it is not taken again.
    ended, _ = run_small(config, tmp_path / "told", on_event=fail_in_second)
    assert (ended.reason, ended.finished_steps) == ("failed", 1)
    ended, events = run_small(config, tmp_path / "told", resume=True)
    assert [e.result.step for e in events.of(EvalFinished)] == [2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grpo_tui.engine.evaluate.wilson_interval", fail_when_second())
        ended, _ = run_small(config, tmp_path / "cut")
    assert (ended.reason, ended.finished_steps) == ("failed", 1)
    ended, events = run_small(config, tmp_path / "cut", resume=True)
    assert [e.result.step for e in events.of(EvalFinished)] == [1, 2]
    for name in ("told", "cut"):
        with RunReader(tmp_path / name) as reader:
            assert [replace(e, seconds=0.0) for e in reader.evals()] == [
                replace(e.result, seconds=0.0) for e in expected.of(EvalFinished)
            ]


def fail_when_second() -> object:
    calls = 0

    def interval(successes: int, trials: int) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        return wilson_interval(successes, trials)

    return interval


@pytest.mark.parametrize("lenient_first", [False, True])
def test_the_lenient_share_is_told_by_math_whatever_the_order(lenient_first: bool) -> None:
    def judged(lenient: bool | None) -> Score:
        return Score(
            value=None, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence="", lenient=lenient)
        )

    pairs = [("math", judged(True)), ("math_lenient", judged(False))]
    components = dict(reversed(pairs) if lenient_first else pairs)
    assert lenient_share([components, {"format": judged(None)}]) == 1.0
    assert lenient_share([{**components, "math": judged(None)}]) == 0.0
