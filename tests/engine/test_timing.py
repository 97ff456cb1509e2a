"""Where the time went: tokens and padding counted by hand, seconds that leave out what is not the model's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from grpo_tui.engine.rollout import sampling_settings
from grpo_tui.engine.rows import Row, count_tokens, token_batch
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events import codec
from grpo_tui.events.records import StepMetrics
from grpo_tui.events.types import StepFinished
from grpo_tui.generation.types import SampleRequest, TokenTick
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from tests.engine.support import run_small, small_config, take_steps, trainer_of
from tests.events.builders import metrics


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    with trainer_of(small_config()) as trainer:
        yield trainer


def row(prompt: tuple[int, ...], num_tokens: int) -> Row:
    ids = torch.arange(1, num_tokens + 1)
    return Row(
        group=0, index=0, prompt_ids=prompt, completion_ids_T=ids, sampled_logprobs_T=ids.float(), reward=0.0
    )


def test_a_shared_prompt_counts_once_and_padding_is_what_is_left(trainer: Trainer) -> None:
    rows = [row((5, 6, 7), 4), row((5, 6, 7), 2), row((8,), 1)]
    tokens, positions = count_tokens(rows, trainer.policy)
    # Of a completion all but the last token goes through; 3 and 1 of the first prompt's stand in two rows of 3.
    assert (tokens, positions) == ((3 + 1) + (3 + 1 + 0), 2 * 3 + 2 * 3)
    batch = token_batch(rows, trainer.policy)
    assert batch.shared is not None
    assert tokens == int(batch.shared.mask_Q_P.sum() + batch.completion_mask_B_T.sum()) - len(rows)


def test_prompts_that_nobody_shares_are_counted_as_they_go_through(trainer: Trainer) -> None:
    rows = [row((5, 6, 7), 4), row((8,), 1)]
    batch = token_batch(rows, trainer.policy)
    masks = (batch.prompt_mask_B_P, batch.completion_mask_B_T)
    expected = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
    assert count_tokens(rows, trainer.policy) == expected == (4 + 5, 2 * 3 + 2 * 4)


def test_a_step_accounts_for_all_its_tokens_and_for_no_more_time_than_it_took(trainer: Trainer) -> None:
    [found] = take_steps(trainer, 1)
    timing = found.timing
    assert timing is not None
    prompts = {
        prompt.token_ids for prompt in (trainer.prompts[i] for i in trainer.order.for_step(found.step, 2))
    }
    assert timing.prefill.num_tokens == sum(map(len, prompts))
    assert timing.decode.num_tokens == found.num_sampled_tokens
    assert timing.update.num_tokens == timing.reference.num_tokens
    once = found.num_completion_tokens - found.num_completions  # a last token predicts nothing
    assert timing.update.num_tokens == timing.prefill.num_tokens + once
    assert timing.update.num_microbatches == timing.reference.num_microbatches == 1
    assert 0 <= timing.update.padding < 1
    phases = found.seconds_by_phase
    assert 0 < timing.prefill.seconds + timing.decode.seconds < phases["sample"]
    assert 0 < timing.reference.seconds < phases["reference"]
    assert 0 < timing.update.seconds < phases["update"]
    for report in (timing.prefill, timing.decode, timing.reference, timing.update):
        assert report.tokens_per_second == pytest.approx(report.num_tokens / report.seconds)
    assert timing.device_peak_bytes is None
    assert timing.run_file_seconds == 0.0


@pytest.mark.parametrize("kind", ["fast", "trusted"])
def test_who_listens_to_ticks_does_not_count_as_decoding(kind: str) -> None:
    with trainer_of(small_config(f"sampling.sampler={kind}")) as trainer:
        settings = sampling_settings(trainer)
        ids = trainer.prompts[0].token_ids
        requests = [SampleRequest(prompt_ids=ids, stream_key=f"{i}") for i in range(3)]
        ticks: list[TokenTick] = []

        def slow(tick: TokenTick) -> None:
            ticks.append(tick)
            time.sleep(0.1)

        started = time.perf_counter()
        trainer.sampler.sample(requests, settings, slow)
        took = time.perf_counter() - started
    last = ticks[-1]
    assert last.num_prompt_tokens == len(ids)
    assert 0 < last.prefill_seconds + last.decode_seconds < took - 0.1 * len(ticks)


def test_time_for_the_run_file_is_told_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunWriter.write

    def slowly(self: RunWriter, event: object) -> None:
        if isinstance(event, StepFinished):
            time.sleep(0.2)
        write(self, event)  # type: ignore[arg-type]

    monkeypatch.setattr(RunWriter, "write", slowly)
    _, events = run_small(small_config("run.steps=2"), tmp_path / "run")
    first, second = (event.metrics for event in events.of(StepFinished))
    assert first.timing is not None
    assert second.timing is not None
    # What telling a step takes is known only after it was told: it stands with the next one.
    assert 0 < first.timing.run_file_seconds < 0.2 < second.timing.run_file_seconds
    with RunReader(tmp_path / "run") as reader:
        assert [step.timing for step in reader.history()] == [first.timing, second.timing]


def test_a_run_file_from_before_there_was_timing_reads() -> None:
    data, _ = codec.encode_record(metrics(1))
    assert "timing" not in data
    assert codec.decode_record(StepMetrics, data).timing is None
