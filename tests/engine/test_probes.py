"""Probes read the weights around updates, and the training never notices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from grpo_tui.engine.probes import MAX_PROBES, gold_logprob
from grpo_tui.engine.requests import obey
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import (
    Pause,
    PinProbe,
    Request,
    Resume,
    StepOnce,
    Stop,
    Undo,
    UnpinProbe,
)
from grpo_tui.events.fold import reduce
from grpo_tui.events.probes import ProbeAnswer, ProbePoint, ProbeReading, flips
from grpo_tui.events.state import KEPT_TEXTS, RunState
from grpo_tui.events.types import (
    Event,
    Notice,
    ProbePinned,
    ProbesRead,
    ProbeUnpinned,
    RequestFailed,
    StepFinished,
    WentTo,
)
from grpo_tui.runs.reader import RunReader
from rewards.base import Verdict
from tests.engine.support import (
    ALTERNATING,
    Background,
    Events,
    run_small,
    small_config,
    take_steps,
    trainer_of,
)

LARGE_STEPS = ("optim.lr=0.05",)
TYPED = PinProbe(question="What is 2 + 3?", answer="5")


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Trainer, Events]]:
    events = Events()
    with trainer_of(small_config("eval.every=2", "eval.num_problems=3"), events) as trainer:
        yield trainer, events


@pytest.fixture
def at_rest(shared: tuple[Trainer, Events]) -> tuple[Trainer, Events]:
    """A trainer without probes."""
    trainer, events = shared
    trainer.probes.clear()
    events.clear()
    return trainer, events


def ask(trainer: Trainer, events: Events, request: Request) -> str:
    """Carry out a request; what it complained of."""
    obey(trainer, request)
    failed = events.of(RequestFailed)
    return failed[-1].message if failed else ""


def test_pinning_reads_the_weights_as_they_are(at_rest: tuple[Trainer, Events]) -> None:
    trainer, events = at_rest
    assert ask(trainer, events, TYPED) == ""
    [pinned], [read] = events.of(ProbePinned), events.of(ProbesRead)
    assert pinned.problem.question == TYPED.question
    assert "What is 2 + 3?" in pinned.problem.prompt
    assert (read.step, read.branch) == (trainer.finished_steps, 0)
    [reading] = read.readings
    assert reading.probe == pinned.probe
    assert reading.greedy.num_tokens > 0
    assert reading.sample.num_tokens > 0
    assert reading.greedy.reward is not None
    assert read.seconds > 0


def test_the_gold_s_log_prob_is_the_model_s_own(at_rest: tuple[Trainer, Events]) -> None:
    """Against a forward pass of the whole text by hand."""
    trainer, events = at_rest
    ask(trainer, events, PinProbe(question="What is 20 + 3?", answer="23"))
    [probe] = trainer.probes.values()
    gold = trainer.policy.tokenizer.encode("23", add_special_tokens=False)
    ids = torch.tensor([[*probe.prompt.token_ids, *gold]])
    with torch.no_grad():
        logits = trainer.policy.model(input_ids=ids).logits[0].float()
    start = len(probe.prompt.token_ids)
    expected = sum(float(torch.log_softmax(logits[start + i - 1], -1)[token]) for i, token in enumerate(gold))
    [reading] = events.of(ProbesRead)[0].readings
    assert reading.gold_logprob == pytest.approx(expected, abs=1e-4)
    assert reading.num_gold_tokens == len(gold)


def test_without_a_gold_nothing_is_judged_and_no_log_prob_is_read(at_rest: tuple[Trainer, Events]) -> None:
    trainer, events = at_rest
    ask(trainer, events, PinProbe(question="Say anything."))
    [reading] = events.of(ProbesRead)[0].readings
    assert (reading.gold_logprob, reading.num_gold_tokens) == (None, 0)
    assert reading.greedy.verdict is None
    assert reading.greedy.reward is None


def test_a_gold_longer_than_the_context_has_no_log_prob(at_rest: tuple[Trainer, Events]) -> None:
    trainer, _ = at_rest
    prompt = trainer.prompts[0]
    huge = replace(prompt, problem=replace(prompt.problem, answer="1" * 3000))
    assert gold_logprob(trainer, huge) == (None, 0)


def test_a_held_out_problem_by_number_and_the_first_that_is_not_pinned(
    at_rest: tuple[Trainer, Events],
) -> None:
    trainer, events = at_rest
    assert ask(trainer, events, PinProbe(held_out=2)) == ""
    assert ask(trainer, events, PinProbe(held_out=-1)) == ""
    assert ask(trainer, events, PinProbe(held_out=-1)) == ""
    asked = [pinned.problem.id for pinned in events.of(ProbePinned)]
    held_out = [prompt.problem.id for prompt in trainer.held_out]
    assert asked == [held_out[1], held_out[0], held_out[2]]
    assert "every held-out problem is pinned" in ask(trainer, events, PinProbe(held_out=-1))


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (PinProbe(question=" \n"), "the prompt is empty"),
        (PinProbe(question="x", every=0), "at least 1, not 0"),
        (PinProbe(question="x", max_tokens=-1), "at least 1 is needed"),
        (PinProbe(question="x " * 5000), "exceed context"),
        (PinProbe(held_out=99), "and no number 99"),
        (UnpinProbe(7), "probe 7 is not pinned (pinned: none)"),
    ],
)
def test_what_cannot_be_pinned_is_one_line(
    request_: Request, line: str, at_rest: tuple[Trainer, Events]
) -> None:
    trainer, events = at_rest
    message = ask(trainer, events, request_)
    assert line in message
    assert "\n" not in message
    assert not trainer.probes
    assert not events.of(ProbesRead)


def test_a_prompt_is_pinned_once_and_only_so_many(at_rest: tuple[Trainer, Events]) -> None:
    trainer, events = at_rest
    ask(trainer, events, TYPED)
    assert "pinned already" in ask(trainer, events, TYPED)
    [probe] = trainer.probes.values()
    trainer.probes.update({1000 + i: probe for i in range(MAX_PROBES)})
    assert f"{MAX_PROBES} probes are pinned" in ask(trainer, events, PinProbe(question="another"))


def test_training_is_the_same_with_probes_and_without() -> None:
    """Seen to fail with torch's generator used for the sample."""
    with trainer_of(small_config(*LARGE_STEPS)) as plain:
        expected = [metrics.state_hash for metrics in take_steps(plain, 3)]
    events = Events()
    with trainer_of(small_config(*LARGE_STEPS), events) as trainer:
        obey(trainer, TYPED)
        found = [metrics.state_hash for metrics in take_steps(trainer, 1)]
        obey(trainer, PinProbe(question="What is 7 - 4?", answer="3", every=2))
        found += [metrics.state_hash for metrics in take_steps(trainer, 2)]
    assert found == expected
    assert [read.step for read in events.of(ProbesRead)] == [0, 1, 1, 2, 3]
    assert [len(read.readings) for read in events.of(ProbesRead)] == [1, 1, 1, 2, 1], "one every 2 steps"


def test_readings_follow_the_weights_and_nothing_else() -> None:
    """The same weights read twice say the same; other weights have another log-prob of the gold."""
    events = Events()
    with trainer_of(small_config(*LARGE_STEPS), events) as trainer:
        obey(trainer, TYPED)
        obey(trainer, UnpinProbe(1))
        obey(trainer, TYPED)
        take_steps(trainer, 1)
    first, again, after = (read.readings[0] for read in events.of(ProbesRead))
    assert again.greedy.text == first.greedy.text
    assert again.sample.text == first.sample.text
    assert again.gold_logprob == first.gold_logprob
    assert after.gold_logprob != first.gold_logprob
    assert [pinned.probe for pinned in events.of(ProbePinned)] == [1, 2], "a number is never given twice"


def test_nothing_pinned_costs_nothing(at_rest: tuple[Trainer, Events]) -> None:
    trainer, events = at_rest
    take_steps(trainer, 1)
    assert not events.of(ProbesRead)


def test_a_probe_that_cannot_be_read_does_not_stop_the_training(
    at_rest: tuple[Trainer, Events], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, events = at_rest
    ask(trainer, events, TYPED)

    def broken(*_arguments: Any) -> Any:
        raise RuntimeError("no memory left")

    monkeypatch.setattr("grpo_tui.engine.probes.gold_logprob", broken)
    [metrics] = take_steps(trainer, 1)
    assert trainer.finished_steps == metrics.step
    assert any("probes were not read" in notice.message for notice in events.of(Notice))


def test_pins_survive_a_resume_and_so_do_their_readings(tmp_path: Path) -> None:
    config = small_config("run.steps=4")
    with Background(config, tmp_path / "run", paused=True) as session:
        session.wait_for_mode("paused before step 1")
        session.send(TYPED)
        session.send(PinProbe(question="What is 9 - 1?", answer="8"))
        session.send(UnpinProbe(2))
        session.wait_for_number(ProbeUnpinned, 1)
        session.send(StepOnce())
        session.wait_for_number(StepFinished, 1)
        session.wait_for_mode("paused before step 2")
    _, events = run_small(config, tmp_path / "run", resume=True)
    assert [read.step for read in events.of(ProbesRead)] == [2, 3, 4]
    assert {r.probe for read in events.of(ProbesRead) for r in read.readings} == {1}
    with RunReader(tmp_path / "run") as reader:
        state = reader.load_state()
    assert [probe.probe for probe in state.probes] == [1]
    assert [point.step for point in state.probe_points(1)] == [0, 1, 2, 3, 4]
    assert [point.step for point in state.probe_points(1, 2)] == [0, 1, 2]


def test_after_going_back_the_readings_are_of_the_present_line(tmp_path: Path) -> None:
    with Background(small_config("run.steps=3"), tmp_path / "run", paused=True) as session:
        session.wait_for_mode("paused before step 1")
        session.send(TYPED)
        for step in (1, 2):
            session.send(StepOnce())
            session.wait_for_mode(f"paused before step {step + 1}")
        session.send(Undo(1))
        session.wait_for_number(WentTo, 1)
        state = RunState()
        for event in list(session.events):
            state = reduce(state, event)
        assert [point.step for point in state.probe_points(1)] == [0, 1]
        session.send(StepOnce())
        session.wait_for_number(ProbesRead, 4)
        state = RunState()
        for event in list(session.events):
            state = reduce(state, event)
    reads = session.events.of(ProbesRead)
    assert [(read.step, read.branch) for read in reads] == [(0, 0), (1, 0), (2, 0), (2, 1)]
    assert [point.step for point in state.probe_points(1)] == [0, 1, 2]
    assert state.probe_points(1)[-1].reading is reads[-1].readings[0]


def test_a_gold_is_judged_by_the_run_s_rewards() -> None:
    events = Events()
    with trainer_of(small_config(reward=ALTERNATING), events) as trainer:
        obey(trainer, TYPED)
    [reading] = events.of(ProbesRead)[0].readings
    assert (reading.greedy.reward, reading.sample.reward) == (1.0, 0.0)


def test_old_readings_keep_their_numbers_and_lose_their_texts() -> None:
    state = RunState()
    for step in range(KEPT_TEXTS + 3):
        answer = ProbeAnswer(text=f"text {step}", num_tokens=2, finish_reason="stop")
        reading = ProbeReading(probe=1, greedy=answer, sample=answer, gold_logprob=-float(step))
        read = ProbesRead(time=0.0, step=step, branch=0, readings=(reading,), seconds=0.1)
        state = reduce(state, read)
    texts = [read.readings[0].greedy.text for read in state.probes_read]
    assert texts[:4] == ["", "", "", "text 3"]
    assert [read.readings[0].gold_logprob for read in state.probes_read[:3]] == [-0.0, -1.0, -2.0]


def test_flips_are_of_the_greedy_answer() -> None:
    def point(step: int, verdict: Verdict) -> ProbePoint:
        answer = ProbeAnswer(text="", num_tokens=1, finish_reason="stop", verdict=verdict)
        return ProbePoint(step=step, reading=ProbeReading(probe=1, greedy=answer, sample=answer))

    line = [point(0, Verdict.WRONG), point(1, Verdict.CORRECT), point(2, Verdict.CORRECT)]
    line += [point(3, Verdict.NO_ANSWER), point(4, Verdict.WRONG)]
    assert flips(line) == ((1, True), (3, False))
    assert flips(line[:1]) == ()


def test_a_pause_while_probes_are_read_comes_at_the_end_of_the_step(tmp_path: Path) -> None:
    """Held inside a reading, the engine would obey no request, though no step is in progress."""
    paused: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, StepFinished) and not paused:
            paused.append(event.metrics.step)
            session.send(Pause())

    session = Background(small_config("run.steps=3"), tmp_path / "run", paused=True, on_event=on_event)
    with session:
        session.wait_for_mode("paused before step 1")
        session.send(TYPED)
        session.send(Resume())
        session.wait_for_mode("paused before step 2")
        session.send(UnpinProbe(1))
        session.wait_for_number(ProbeUnpinned, 1)
        assert [read.step for read in session.events.of(ProbesRead)] == [0, 1]


def test_a_stop_while_probes_are_read_leaves_the_step_finished(tmp_path: Path) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, StepFinished):
            session.send(Stop())

    session = Background(small_config("run.steps=3"), tmp_path / "run", paused=True, on_event=on_event)
    with session:
        session.wait_for_mode("paused before step 1")
        session.send(TYPED)
        session.send(Resume())
        ended = session.join()
    assert (ended.reason, ended.finished_steps) == ("stopped", 1)
    assert [read.step for read in session.events.of(ProbesRead)] == [0], "the reading was left"
    _, events = run_small(small_config("run.steps=3"), tmp_path / "run", resume=True)
    assert [read.step for read in events.of(ProbesRead)] == [2, 3]
