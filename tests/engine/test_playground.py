"""The Playground samples from other adapters, and the training never notices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grpo_tui.engine.checkpoint import save_checkpoint
from grpo_tui.engine.control import StopRequested, Withdrawn
from grpo_tui.engine.playground import play
from grpo_tui.engine.requests import obey
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import ADAPTER, BASE, Play, Resume, StepPhase, Withdraw, step_source
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.types import (
    PhaseStarted,
    PlayEnded,
    PlaygroundAnswered,
    PlayStarted,
    Progress,
    RequestFailed,
)
from grpo_tui.runs.reader import RunReader
from tests.engine.support import (
    ALTERNATING,
    Background,
    Events,
    history_hashes,
    run_small,
    small_config,
    take_steps,
    trainer_of,
)

ASK = Play(id=1, question="What is 2 + 3?", num_samples=4, max_tokens=8, temperature=1.5)
LARGE_STEPS = ("optim.lr=0.05", "run.keep_checkpoints=9")
"""So that one update changes what is sampled."""


def tokens(group: GroupRecord) -> list[list[int]]:
    return [completion.token_ids_T.tolist() for completion in group.completions]


def answers(events: Events, source: str, id: int = 1) -> GroupRecord:
    [answered] = [e for e in events.of(PlaygroundAnswered) if e.source == source and e.id == id]
    return answered.group


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture(params=["fast", "trusted"])
def trained(request: Any, events: Events, tmp_path: Path) -> Iterator[Trainer]:
    """Two steps taken, both kept, under each sampler."""
    config = small_config(*LARGE_STEPS, f"sampling.sampler={request.param}")
    with trainer_of(config, events) as trainer:
        trainer.checkpoints_dir = tmp_path
        for _ in range(2):
            take_steps(trainer, 1)
            save_checkpoint(trainer, tmp_path)
        yield trainer


def test_the_base_is_the_adapter_off_and_a_checkpoint_is_what_the_adapter_was(
    events: Events, tmp_path: Path
) -> None:
    """Seen to fail with: the base sampled by the adapter; the first checkpoint read for both steps."""
    was: dict[str, list[list[int]]] = {}
    with trainer_of(small_config(*LARGE_STEPS), events) as trainer:
        trainer.checkpoints_dir = tmp_path
        play(
            trainer, replace(ASK, id=90, sources=(ADAPTER,))
        )  # LoRA's B is 0 before step 1: this is the base
        was[BASE] = tokens(answers(events, ADAPTER, 90))
        for step in (1, 2):
            take_steps(trainer, 1)
            save_checkpoint(trainer, tmp_path)
            play(trainer, replace(ASK, id=90 + step, sources=(ADAPTER,)))
            was[step_source(step)] = tokens(answers(events, ADAPTER, 90 + step))
        play(trainer, replace(ASK, sources=(BASE, ADAPTER, step_source(1), step_source(2))))
    assert tokens(answers(events, BASE)) == was[BASE]
    assert tokens(answers(events, step_source(1))) == was[step_source(1)]
    assert tokens(answers(events, step_source(2))) == was[step_source(2)]
    assert tokens(answers(events, ADAPTER)) == was[step_source(2)]
    assert len({str(what) for what in was.values()}) == 3, "steps so large that each answers differently"


def test_the_base_is_peft_s_adapter_switched_off(trained: Trainer, events: Events) -> None:
    """Log-probs of what the base said, against the model with the adapter off."""
    play(trained, replace(ASK, sources=(BASE,)))
    completion = answers(events, BASE).completions[0]
    started = events.of(PlayStarted)[0]
    prompt = trained.policy.tokenizer.encode(started.problem.prompt, add_special_tokens=False)
    ids = torch.tensor([[*prompt, *completion.token_ids_T.tolist()]])
    with torch.no_grad(), trained.policy.model.disable_adapter():
        logits = trained.policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    expected = torch.log_softmax(logits / ASK.temperature, -1)
    found = expected.gather(1, ids[0, len(prompt) :, None]).squeeze(1).numpy()
    assert np.abs(found - completion.logprobs_T).max() < 1e-4


def test_nothing_of_the_training_changes(trained: Trainer, events: Events) -> None:
    before, stream = trained.state_hash(), torch.get_rng_state()
    play(trained, replace(ASK, sources=(BASE, step_source(1), ADAPTER), answer="5"))
    assert trained.state_hash() == before
    assert torch.get_rng_state().equal(stream)
    assert [event.reason for event in events.of(PlayEnded)] == ["done"]


def test_training_goes_on_as_if_nobody_had_played(events: Events, tmp_path: Path) -> None:
    with trainer_of(small_config(*LARGE_STEPS)) as undisturbed:
        expected = [metrics.state_hash for metrics in take_steps(undisturbed, 3)]
    with trainer_of(small_config(*LARGE_STEPS), events) as trainer:
        trainer.checkpoints_dir = tmp_path
        found = []
        for step in (1, 2, 3):
            play(trainer, replace(ASK, id=step, sources=(BASE, ADAPTER)))
            found += [metrics.state_hash for metrics in take_steps(trainer, 1)]
    assert found == expected


def test_sources_draw_the_same_numbers_and_another_seed_others(trained: Trainer, events: Events) -> None:
    latest = step_source(2)
    play(trained, replace(ASK, sources=(ADAPTER, latest)))
    play(trained, replace(ASK, id=2, sources=(ADAPTER,), seed=7))
    assert tokens(answers(events, ADAPTER)) == tokens(answers(events, latest))
    assert tokens(answers(events, ADAPTER, 2)) != tokens(answers(events, ADAPTER))
    assert len({str(row) for row in tokens(answers(events, ADAPTER))}) > 1, "each sample has its own stream"


def test_a_gold_answer_is_judged_by_the_run_s_rewards_and_none_is_not(events: Events) -> None:
    with trainer_of(small_config(reward=ALTERNATING), events) as trainer:
        play(trainer, replace(ASK, answer="5"))
        play(trainer, replace(ASK, id=2))
    judged, plain = answers(events, ADAPTER), answers(events, ADAPTER, 2)
    assert [c.reward for c in judged.completions] == [1.0, 0.0, 1.0, 0.0]
    assert all(c.scores for c in judged.completions)
    assert [c.reward for c in plain.completions] == [None] * 4


def test_the_run_s_template_is_laid_over_the_question(events: Events) -> None:
    config = small_config()
    config = replace(config, data=replace(config.data, prompt_template="<<{prompt}>>"))
    with trainer_of(config, events) as trainer:
        play(trainer, ASK)
        known = trainer.prompts[0]
        play(trainer, replace(ASK, id=2, question=known.problem.question, problem_id=known.problem.id))
    first, second = events.of(PlayStarted)
    assert "<<What is 2 + 3?>>" in first.problem.prompt
    assert second.problem.id == known.problem.id
    assert second.problem.prompt == known.text
    assert second.problem.metadata == known.problem.metadata


def test_a_question_that_was_edited_is_a_problem_of_its_own(events: Events) -> None:
    with trainer_of(small_config(), events) as trainer:
        play(trainer, replace(ASK, question="another", problem_id=trainer.prompts[0].problem.id))
    assert events.of(PlayStarted)[0].problem.id == "play 1"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"question": "  \n"}, "the prompt is empty"),
        ({"num_samples": 65}, "65 samples were asked for; 1 to 64"),
        ({"num_samples": 0}, "0 samples were asked for"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"max_tokens": 0}, "at least 1 is needed"),
        ({"max_tokens": 100_000}, "exceed context"),
        ({"question": "x " * 5000}, "exceed context"),
        ({"sources": ()}, "choose at least one source"),
        ({"sources": (BASE, BASE)}, "each once"),
        ({"sources": ("step 7",)}, "no checkpoint of step 7 is kept (kept: none)"),
        ({"sources": ("elsewhere",)}, "'elsewhere' is no source"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_sampled(
    change: dict[str, Any], line: str, shared: tuple[Trainer, Events]
) -> None:
    trainer, events = shared
    events.clear()
    before = trainer.state_hash()
    obey(trainer, replace(ASK, **change))
    [failed] = events.of(RequestFailed)
    assert line in failed.message
    assert "\n" not in failed.message
    assert failed.detail == "", "no traceback for a mistake of the user's"
    [ended] = events.of(PlayEnded)
    assert (ended.reason, ended.message) == ("failed", failed.message)
    assert not events.of(PlaygroundAnswered)
    assert trainer.state_hash() == before


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Trainer, Events]]:
    events = Events()
    with trainer_of(small_config(), events) as trainer:
        yield trainer, events


def test_a_damaged_checkpoint_is_one_line(trained: Trainer, events: Events) -> None:
    assert trained.checkpoints_dir is not None
    (trained.checkpoints_dir / "step-000001" / "adapter_model.safetensors").write_bytes(b"nothing")
    obey(trained, replace(ASK, sources=(step_source(1),)))
    assert len(events.of(RequestFailed)) == 1
    assert events.of(RequestFailed)[0].detail == ""


def breaks_at(error: BaseException, token: int) -> Any:
    calls = 0

    def heed() -> None:
        nonlocal calls
        calls += 1
        if calls >= token:  # every time: a sampler that runs out of memory tries again with fewer rows
            raise error

    return heed


@pytest.mark.parametrize(
    ("error", "reason"),
    [(Withdrawn(), "stopped"), (torch.OutOfMemoryError("no room"), "failed"), (StopRequested(), "stopped")],
)
def test_left_half_way_the_trainer_is_as_it_was(
    error: BaseException, reason: str, trained: Trainer, events: Events
) -> None:
    """Seen to fail with: the other adapter left in place where sampling raises."""
    before = trained.state_hash()
    trained.heed = breaks_at(error, 3)
    if isinstance(error, StopRequested):
        with pytest.raises(StopRequested):
            obey(trained, replace(ASK, sources=(step_source(1), ADAPTER)))
    else:
        obey(trained, replace(ASK, sources=(step_source(1), ADAPTER)))
    assert trained.state_hash() == before
    assert [event.reason for event in events.of(PlayEnded)] == [reason]
    assert not events.of(PlaygroundAnswered)
    assert bool(events.of(RequestFailed)) == (reason == "failed")


# --- in a real session -----------------------------------------------------------------------------------


def test_while_paused_it_is_sampled_and_recorded_and_the_run_is_the_same(tmp_path: Path) -> None:
    _, undisturbed = run_small(small_config("run.steps=2"), tmp_path / "undisturbed")
    with Background(small_config("run.steps=2"), tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(ASK)
        session.wait_for_number(PlayEnded, 1)
        session.send(StepPhase())
        session.wait_for_mode("paused before sample")
        session.send(replace(ASK, id=2))
        session.wait_for_number(PlayEnded, 2)
        session.send(Resume())
        session.join()
        gauges = [gauge for gauge in session.gauges if gauge.of == "play"]
        assert gauges
        assert all(isinstance(g, Progress) and g.total == 8 for g in gauges)
    assert history_hashes(tmp_path / "run") == undisturbed.hashes
    with RunReader(tmp_path / "run") as reader:
        plays = reader.load_state().plays
    assert [play.started.id for play in plays] == [1, 2]
    assert [[answered.source for answered in play.answers] for play in plays] == [[BASE, ADAPTER]] * 2
    assert tokens(plays[0].answers[0].group) == tokens(answers(session.events, BASE))


def test_while_running_it_waits_for_the_end_of_the_phase(tmp_path: Path) -> None:
    with Background(small_config("run.steps=2"), tmp_path / "run", paused=False) as session:
        session.wait_for_number(PhaseStarted, 2)
        session.send(ASK)
        session.wait_for_number(PlayEnded, 1)
        session.join()
    names = session.events.names()
    started = names.index("PlayStarted")
    assert names[started - 1] in (
        "PhaseFinished",
        "StepFinished",
        "CheckpointSaved",
        "GroupScored",
        "ModeChanged",
    )
    assert names[started : started + 4] == [
        "PlayStarted",
        "PlaygroundAnswered",
        "PlaygroundAnswered",
        "PlayEnded",
    ]


def test_one_that_waits_can_be_withdrawn_and_one_in_progress_stopped(tmp_path: Path) -> None:
    first, second = replace(ASK, max_tokens=200, num_samples=64), replace(ASK, id=2)
    with Background(small_config("run.steps=1"), tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(first)
        session.wait_for_number(PlayStarted, 1)
        session.send(second)
        session.send(Withdraw(second))
        session.send(Withdraw(first))
        session.wait_for_number(PlayEnded, 1)
        session.send(replace(ASK, id=3))
        session.wait_for_number(PlayEnded, 2)
    assert [(event.id, event.reason) for event in session.events.of(PlayEnded)] == [
        (1, "stopped"),
        (3, "done"),
    ]
    assert [event.id for event in session.events.of(PlayStarted)] == [1, 3]
