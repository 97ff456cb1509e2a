"""Before step 1: some prompts tried as training would, and the fit measured; the training never notices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from grpo_tui.engine.control import StopRequested, Withdrawn
from grpo_tui.engine.probe import measure, probe, probe_prompts, prompt_pieces
from grpo_tui.engine.requests import obey
from grpo_tui.engine.step import run_step
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import MeasureFit, Probe, Resume, StepPhase, Withdraw
from grpo_tui.events.preflight import FIT, PROBE, ProbeReport
from grpo_tui.events.types import (
    FitMeasured,
    PreflightDone,
    PreflightEnded,
    PreflightStarted,
    Progress,
    RequestFailed,
    StepStarted,
)
from grpo_tui.runs.reader import RunReader
from tests.engine.support import (
    ALTERNATING,
    CONSTANT,
    HALF_DEAD,
    Background,
    Events,
    history_hashes,
    run_small,
    small_config,
    take_steps,
    trainer_of,
)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def trainer(events: Events) -> Iterator[Trainer]:
    with trainer_of(small_config(), events) as made:
        yield made


def report(events: Events) -> ProbeReport:
    [done] = events.of(PreflightDone)
    return done.report


def test_every_prompt_is_tried_as_training_would(trainer: Trainer, events: Events) -> None:
    probe(trainer, Probe(num_prompts=5))
    found = report(events)
    assert len(found.groups) == 5
    assert len({group.problem_id for group in found.groups}) == 5
    assert {len(group.rewards_G) for group in found.groups} == {4}
    assert found.num_completions == 20
    assert (found.group_size, found.max_completion_tokens, found.finished_steps) == (4, 8, 0)
    assert found.num_tokens == sum(sum(group.lengths_G) for group in found.groups) > 0
    assert all(
        length == 8
        for group in found.groups
        for length, cut in zip(group.lengths_G, group.truncated_G, strict=True)
        if cut
    )
    assert found.sampling_seconds > 0
    assert found.scoring_seconds > 0
    assert [(e.what, e.reason) for e in events.of(PreflightEnded)] == [(PROBE, "done")]
    assert events.of(PreflightStarted)[0].detail == "5 prompts × 4 responses of up to 8 tokens"


@pytest.mark.parametrize("sampler", ["fast", "trusted"])
def test_training_goes_on_as_if_nobody_had_probed(sampler: str, events: Events) -> None:
    """Seen to fail with: torch's generator drawn from in the probe."""
    config = small_config(f"sampling.sampler={sampler}")
    with trainer_of(config) as undisturbed:
        expected = [metrics.state_hash for metrics in take_steps(undisturbed, 2)]
    with trainer_of(config, events) as trainer:
        found = []
        for _ in range(2):
            before, stream = trainer.state_hash(), torch.get_rng_state()
            probe(trainer, Probe(num_prompts=3))
            measure(trainer, MeasureFit())
            assert trainer.state_hash() == before
            assert torch.get_rng_state().equal(stream)
            found += [metrics.state_hash for metrics in take_steps(trainer, 1)]
    assert found == expected
    assert [e.report.finished_steps for e in events.of(PreflightDone)] == [0, 1]


def test_the_same_probe_finds_the_same_and_draws_other_numbers_than_step_1(
    trainer: Trainer, events: Events
) -> None:
    for _ in range(2):
        probe(trainer, Probe(num_prompts=12))
    first, second = (done.report.groups for done in events.of(PreflightDone))
    assert first == second
    assert [p.problem.id for p in probe_prompts(trainer, 12)] != [
        trainer.prompts[i].problem.id for i in trainer.order.for_step(1, 12)
    ]


@pytest.mark.parametrize(
    ("reward", "num_dead", "causes"),
    [
        (CONSTANT, 6, {"equal rewards": 6}),
        (ALTERNATING, 0, {}),
    ],
)
def test_dead_groups_are_counted_by_their_cause(
    reward: str, num_dead: int, causes: dict[str, int], events: Events
) -> None:
    with trainer_of(small_config(reward=reward), events) as trainer:
        probe(trainer, Probe(num_prompts=6))
    assert report(events).num_dead == num_dead
    assert report(events).dead_causes == causes


def test_too_hard_is_told_by_the_verifier_s_verdicts(events: Events) -> None:
    """Answers of one token can hardly be right: the math verifier judges them all, and says so."""
    config = small_config("sampling.max_completion_tokens=1", reward="math")
    with trainer_of(config, events) as trainer:
        probe(trainer, Probe(num_prompts=4))
    found = report(events)
    assert found.num_truncated >= 1
    assert set(found.dead_causes) <= {"too hard", "identical text"}
    assert sum(found.verdict_counts.values()) == 16
    assert "correct" not in found.verdict_counts


def test_half_dead_is_half(events: Events) -> None:
    with trainer_of(small_config(reward=HALF_DEAD), events) as trainer:
        probe(trainer, Probe(num_prompts=8))
    dead = {group.problem_id for group in report(events).groups if group.dead_cause}
    equal = {g.problem_id for g in report(events).groups if len(set(g.rewards_G)) == 1}
    assert dead == equal
    assert 0 < len(dead) < 8


def test_no_more_prompts_than_there_are_and_no_more_at_once_than_a_step_has(
    trainer: Trainer, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: all prompts sampled in one call."""
    real, sizes = trainer.sampler.sample, []

    class Watched:
        def sample(self, requests: Any, *rest: Any) -> Any:
            sizes.append(len(requests))
            return real(requests, *rest)

    monkeypatch.setattr(trainer, "sampler", Watched())
    probe(trainer, Probe(num_prompts=200))
    assert len(report(events).groups) == len(trainer.prompts) == 12
    assert sizes == [8] * 6


def test_the_preview_is_the_prompt_token_for_token(trainer: Trainer, events: Events) -> None:
    probe(trainer, Probe(num_prompts=1))
    [prompt] = probe_prompts(trainer, 1)
    tokenizer = trainer.policy.tokenizer
    pieces = report(events).preview
    whole = tokenizer.decode(
        list(prompt.token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    assert "".join(piece.text for piece in pieces) == whole
    assert prompt.problem.question in whole
    assert sum(piece.special for piece in pieces) == sum(
        t in tokenizer.all_special_ids for t in prompt.token_ids
    )
    assert report(events).is_chat == bool(tokenizer.chat_template)


def test_special_tokens_are_pieces_of_their_own(trainer: Trainer) -> None:
    prompt, end = trainer.prompts[0], int(trainer.policy.tokenizer.eos_token_id)
    marked = replace(prompt, token_ids=(end, *prompt.token_ids, end, end))
    pieces = prompt_pieces(trainer, marked)
    special = [piece.text for piece in pieces if piece.special]
    assert special.count(trainer.policy.tokenizer.eos_token) >= 3
    assert [piece.special for piece in pieces][-2:] == [True, True]


@pytest.mark.parametrize("number", [0, -1, 257])
def test_what_cannot_be_tried_is_one_line(number: int, trainer: Trainer, events: Events) -> None:
    obey(trainer, Probe(num_prompts=number))
    [failed] = events.of(RequestFailed)
    assert failed.message == f"{number} prompts were asked for; 1 to 256 can be tried"
    assert failed.detail == ""
    [ended] = events.of(PreflightEnded)
    assert (ended.what, ended.reason, ended.message) == (PROBE, "failed", failed.message)
    assert not events.of(PreflightDone)


@pytest.mark.parametrize("request_", [Probe(num_prompts=4), MeasureFit()])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(Withdrawn(), "stopped"), (RuntimeError("broken"), "failed"), (StopRequested(), "stopped")],
)
def test_left_half_way_the_trainer_is_as_it_was(
    error: BaseException, reason: str, request_: Any, trainer: Trainer, events: Events
) -> None:
    before, ends = trainer.state_hash(), trainer.policy.eos_ids
    calls = 0

    def heed() -> None:
        nonlocal calls
        calls += 1
        if calls >= 3:
            raise error

    trainer.heed = heed
    if isinstance(error, StopRequested):
        with pytest.raises(StopRequested):
            obey(trainer, request_)
    else:
        obey(trainer, request_)
    assert trainer.state_hash() == before
    assert trainer.policy.eos_ids == ends
    assert [event.reason for event in events.of(PreflightEnded)] == [reason]
    assert not events.of(PreflightDone)
    assert not events.of(FitMeasured)
    assert bool(events.of(RequestFailed)) == (reason == "failed")


def test_a_probe_that_is_taken_back_ends_at_its_next_token(
    trainer: Trainer, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: sampling that runs to its end before anybody is heeded."""
    real, drawn = trainer.sampler.sample, []

    class Watched:
        def sample(self, *arguments: Any) -> Any:
            drawn.append(real(*arguments))
            return drawn[-1]

    def heed() -> None:
        raise Withdrawn

    monkeypatch.setattr(trainer, "sampler", Watched())
    trainer.heed = heed
    obey(trainer, Probe(num_prompts=2))
    assert drawn == []
    assert [event.reason for event in events.of(PreflightEnded)] == ["stopped"]


def test_the_fit_is_what_doctor_measures(trainer: Trainer, events: Events) -> None:
    measure(trainer, MeasureFit())
    [measured] = events.of(FitMeasured)
    fit = measured.report
    assert fit.fits
    assert [trial.num_rows for trial in fit.microbatches] == [1, 2, 4, 8]
    assert fit.max_tokens_per_microbatch == 8 * (fit.prompt_tokens + 8)
    assert 0 < fit.budget_bytes < fit.free_bytes
    assert fit.seconds_per_step > 0
    assert [(e.what, e.reason) for e in events.of(PreflightEnded)] == [(FIT, "done")]


# --- in a real session -----------------------------------------------------------------------------------


def test_before_step_1_it_is_told_recorded_and_the_run_is_the_same(tmp_path: Path) -> None:
    config = small_config("run.steps=2")
    _, undisturbed = run_small(config, tmp_path / "undisturbed")
    with Background(config, tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(Probe(num_prompts=6))
        session.send(MeasureFit())
        session.wait_for_number(PreflightEnded, 2)
        session.send(Resume())
        session.join()
    gauges = [gauge for gauge in session.gauges if gauge.of == PROBE]
    assert gauges
    assert all(isinstance(gauge, Progress) and gauge.total in (24, 6) for gauge in gauges)
    assert [gauge.done for gauge in session.gauges if gauge.of == FIT] == [0, 1, 2, 3, 4]
    assert history_hashes(tmp_path / "run") == undisturbed.hashes
    with RunReader(tmp_path / "run") as reader:
        state = reader.load_state()
    assert state.preflight is not None
    assert state.fit is not None
    assert state.preflight.report == session.events.of(PreflightDone)[0].report
    assert state.checking is None
    assert any("probe: " in line.message for line in state.log)


def test_in_the_middle_of_a_step_the_probe_is_taken_and_the_fit_refused(tmp_path: Path) -> None:
    """Seen to fail with: the check for a step in progress left out."""
    with Background(small_config("run.steps=1"), tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(StepPhase())
        session.wait_for_mode("paused before sample")
        session.send(Probe(num_prompts=2))
        session.send(MeasureFit())
        session.wait_for_number(RequestFailed, 1)
        session.send(Resume())
        session.join()
    [failed] = session.events.of(RequestFailed)
    assert failed.message == "fit is measured between steps; finish the step first (s)"
    assert len(session.events.of(PreflightDone)) == 1
    assert len(session.events.of(StepStarted)) == 1


def test_one_that_waits_can_be_withdrawn_and_one_in_progress_stopped(tmp_path: Path) -> None:
    long, short = Probe(num_prompts=12), Probe(num_prompts=2)
    config = small_config("sampling.max_completion_tokens=128", "run.steps=1")
    with Background(config, tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(long)
        session.wait_for_number(PreflightStarted, 1)
        session.send(short)
        session.send(Withdraw(short))
        session.send(Withdraw(long))
        session.wait_for_number(PreflightEnded, 1)
    assert [event.reason for event in session.events.of(PreflightEnded)] == ["stopped"]
    assert not session.events.of(PreflightDone)


def test_a_step_s_own_hold_is_not_a_step_in_progress(trainer: Trainer, events: Events) -> None:
    """After a step the fit can be measured again."""
    from tests.engine.support import free_gate

    run_step(trainer, free_gate(trainer))
    obey(trainer, MeasureFit())
    assert not events.of(RequestFailed)
    assert len(events.of(FitMeasured)) == 1
