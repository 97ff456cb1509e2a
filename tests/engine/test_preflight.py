"""The worst step, really run on the tiny model, and judged under memory that is made up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from grpo_tui.engine import preflight
from grpo_tui.engine.meter import DeviceMeter
from grpo_tui.engine.preflight import measure_fit, worst_rows
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.preflight import FitTrial
from grpo_tui.generation.drawing import MAX_ROWS
from tests.engine.support import small_config, take_steps, trainer_of

HELD = 1000
PER_TOKEN = 10


@dataclass
class MadeUp:
    """Memory that is ``HELD`` and ``PER_TOKEN`` bytes for each token of what is being done."""

    free_bytes: int
    survives: bool = True
    now: int = field(default=0)

    def free(self) -> int:
        return self.free_bytes

    def begin(self) -> int:
        self.now = 0
        return HELD

    def peak(self) -> int:
        return HELD + self.now * PER_TOKEN


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    with trainer_of(small_config("sampling.prompts_per_step=2", "sampling.group_size=4")) as made:
        yield made


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each microbatch that was run."""
    ran: list[int] = []
    real = preflight._forward_backward

    def watched(trainer: Trainer, rows: Any) -> None:
        ran.append(len(rows))
        real(trainer, rows)

    monkeypatch.setattr(preflight, "_forward_backward", watched)
    return ran


def measured(trainer: Trainer, meter: MadeUp, monkeypatch: pytest.MonkeyPatch, runs_out_at: int = 0) -> Any:
    """Measure under made-up memory; from ``runs_out_at`` rows on it runs out."""
    real = preflight._forward_backward

    def counted(trainer: Trainer, rows: Any) -> None:
        meter.now = sum(row.total_length for row in rows)
        if runs_out_at and len(rows) >= runs_out_at:
            raise torch.OutOfMemoryError("no room")
        real(trainer, rows)

    monkeypatch.setattr(preflight, "_forward_backward", counted)
    return measure_fit(trainer, meter=meter)


def longest(trainer: Trainer) -> int:
    return max(len(prompt.token_ids) for prompt in trainer.prompts)


def test_the_worst_step_is_really_run_and_the_trainer_is_as_it_was(
    trainer: Trainer, sizes: list[int]
) -> None:
    before, ends = trainer.state_hash(), trainer.policy.eos_ids
    said: list[str] = []
    fit = measure_fit(trainer, say=said.append)
    assert trainer.state_hash() == before
    assert trainer.policy.eos_ids == ends
    assert all(parameter.grad is None for parameter in trainer.policy.trainable_parameters().values())
    assert (fit.prompt_tokens, fit.completion_tokens) == (longest(trainer), 8)
    assert sizes == [1, 2, 4, 8], "up to a whole step"
    assert [p.num_tokens for p in fit.microbatches] == [n * (longest(trainer) + 8) for n in sizes]
    assert fit.fits
    assert fit.max_tokens_per_microbatch == 8 * (longest(trainer) + 8)
    assert fit.seconds_per_step == fit.sampling_seconds + fit.reference_seconds + fit.update_seconds
    assert min(fit.sampling_seconds, fit.reference_seconds, fit.update_seconds) > 0
    assert len(said) == 5


def test_completions_reach_their_full_length(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: completions that may end."""
    real = trainer.sampler.sample
    drawn: list[int] = []

    class Watched:
        def sample(self, *arguments: Any) -> Any:
            found = real(*arguments)
            drawn.extend(len(tokens.token_ids_T) for tokens in found)
            return found

    monkeypatch.setattr(trainer, "sampler", Watched())
    measure_fit(trainer)
    assert drawn == [8] * 8


def test_what_runs_out_of_memory_is_an_answer(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trainer.state_hash()
    fit = measured(trainer, MadeUp(10**9), monkeypatch, runs_out_at=8)
    assert [point.extra_bytes is None for point in fit.microbatches] == [False, False, False, True]
    length = longest(trainer) + 8
    assert fit.max_tokens_per_microbatch == 7 * length, "the line through what fitted allows all below it"
    assert trainer.state_hash() == before


def test_where_not_one_row_fits_it_says_so(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = measured(trainer, MadeUp(10**9), monkeypatch, runs_out_at=1)
    assert not fit.fits
    assert fit.max_tokens_per_microbatch == 0
    assert fit.config_lines == ""
    assert len(fit.microbatches) == 1


def test_the_margin_is_kept_free(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for exactly 5 rows once the margin is taken off: 5, though 8 were run without an error."""
    length = longest(trainer) + 8
    free = round(5 * length * PER_TOKEN / (1 - preflight.MARGIN)) + 1
    fit = measured(trainer, MadeUp(free), monkeypatch)
    assert fit.max_tokens_per_microbatch == 5 * length
    assert fit.budget_bytes == pytest.approx(5 * length * PER_TOKEN, abs=1)
    assert f"max_tokens_per_microbatch = {5 * length}" in fit.config_lines


def test_where_running_out_would_end_the_process_the_next_size_is_predicted(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    """Seen to fail with: the prediction left out, which runs 8 rows."""
    length = longest(trainer) + 8
    free = round(5 * length * PER_TOKEN / (1 - preflight.MARGIN)) + 1
    fit = measured(trainer, MadeUp(free, survives=False), monkeypatch)
    assert sizes == [1, 2, 4]
    assert fit.max_tokens_per_microbatch == 5 * length


def test_a_given_length_takes_the_place_of_the_longest_prompt(trainer: Trainer) -> None:
    assert measure_fit(trainer, prompt_tokens=50).prompt_tokens == 50
    with pytest.raises(ValueError, match="exceed the model's context of"):
        measure_fit(trainer, prompt_tokens=10**6)


def test_sampling_that_runs_out_is_told(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def sample(self, *_arguments: Any) -> Any:
            raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(trainer, "sampler", Full())
    fit = measure_fit(trainer)
    assert fit.sampling.extra_bytes is None
    assert not fit.fits
    assert fit.max_group_size == 0


def test_groups_that_fit_follow_from_the_memory_of_sampling(trainer: Trainer) -> None:
    point = FitTrial(num_rows=8, num_tokens=800, extra_bytes=800, seconds=1.0)
    assert preflight._group_that_fits(point, 800, 2) == 4
    assert preflight._group_that_fits(point, 1600, 2) == 8
    assert preflight._group_that_fits(point, 10**9, 2) == MAX_ROWS // 2


@pytest.mark.parametrize(
    "overrides",
    [
        ("algorithm.name=ppo",),
        ("algorithm.num_epochs=2",),
        ("algorithm.kl_estimator=exact",),
        ("algorithm.beta=0",),
    ],
)
def test_every_kind_of_loss_can_be_measured_and_training_goes_on(overrides: tuple[str, ...]) -> None:
    with trainer_of(small_config(*overrides)) as undisturbed:
        [expected] = take_steps(undisturbed, 1)
    with trainer_of(small_config(*overrides)) as trainer:
        assert measure_fit(trainer).fits
        [metrics] = take_steps(trainer, 1)
    assert metrics.state_hash == expected.state_hash


def test_the_cpu_s_meter_sees_what_is_taken() -> None:
    meter = DeviceMeter(torch.device("cpu"))
    assert meter.free() > 0
    held = meter.begin()
    block = torch.ones(100_000_000 // 4)
    taken = meter.peak() - held
    del block
    assert 90_000_000 < taken < 200_000_000


def test_worst_rows_push_both_ways(trainer: Trainer) -> None:
    rows = worst_rows(trainer, (1, 2, 3), 4)
    assert [row.advantage for row in rows] == [-1.0, 1.0, -1.0, 1.0]
    assert {row.total_length for row in rows} == {3 + 8}
