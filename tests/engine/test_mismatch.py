"""The mismatch microscope names the cause that was put there."""

from __future__ import annotations

import pytest
import torch

import grpo_tui.engine.mismatch as microscope
from grpo_tui.engine.mismatch import compute_mismatch
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.update_records import Mismatch, MismatchCause
from tests.engine.support import small_config, step_looking, take_steps, trainer_of


def look_at(trainer: Trainer, tamper: object = None) -> Mismatch:
    seen: list[Mismatch] = []

    def look(step: int) -> None:
        now = trainer.in_progress
        assert now is not None
        if callable(tamper):
            for row in now.rows:
                row.sampled_logprobs_T = tamper(row)
        seen.append(compute_mismatch(trainer, step))

    step_looking(trainer, look)
    return seen[0]


def cause(found: Mismatch, name: str) -> MismatchCause:
    return next(one for one in found.causes if one.name == name)


@pytest.mark.parametrize("sampler", ["fast", "trusted"])
def test_a_sound_sampler_differs_by_rounding_alone(sampler: str) -> None:
    with trainer_of(small_config(f"sampling.sampler={sampler}", "optim.lr=1e-3")) as trainer:
        take_steps(trainer, 1)
        found = look_at(trainer)
    assert found.largest < 1e-4
    assert found.num_tokens > 0
    assert abs(found.kl) < 1e-6
    assert found.likely in ("", microscope.DTYPE)
    gaps = [abs(token.sampled - token.trained) for token in found.tokens]
    assert gaps == sorted(gaps, reverse=True)
    assert (found.num_checked, found.num_answers) == (4, 8)


def test_an_adapter_that_was_not_folded_again_is_found() -> None:
    # Seen to fail: a sampler whose twin wakes with the weights of an earlier step.
    with trainer_of(small_config("sampling.sampler=fast", "optim.lr=1e-2")) as trainer:
        take_steps(trainer, 1)
        twin = trainer.sampler._twin  # type: ignore[attr-defined]
        awake, zeros = twin.awake, {k: torch.zeros_like(v) for k, v in trainer.policy.adapter_state().items()}

        def stale(rows: int) -> object:
            with trainer.policy.weights(zeros):
                held = awake(rows)
                model = held.__enter__()

            class Held:
                def __enter__(self) -> object:
                    return model

                def __exit__(self, *error: object) -> None:
                    held.__exit__(*error)

            return Held()

        twin.awake = stale
        found = look_at(trainer)
    assert found.mean > 1e-4
    assert found.likely == microscope.FOLDED
    folded = cause(found, microscope.FOLDED)
    assert folded.mean == pytest.approx(found.mean, rel=1.0)


def test_log_probs_of_another_temperature_are_found() -> None:
    with trainer_of(small_config()) as trainer:
        from grpo_tui.engine.rows import token_batch

        def plain(row: object) -> torch.Tensor:
            with torch.no_grad():
                batch = token_batch([row], trainer.policy)  # type: ignore[list-item]
                return trainer.policy.logprobs(batch, 1.0)[0][0]

        found = look_at(trainer, plain)
    assert found.likely == microscope.TEMPERATURE
    assert "recorded at 1, read at 1.5" in cause(found, microscope.TEMPERATURE).detail
    # On the answers with the worst tokens, so not below what all of them show.
    assert (cause(found, microscope.TEMPERATURE).mean or 0.0) >= found.mean > 0.05


def test_a_sampler_that_does_not_repeat_itself_is_found() -> None:
    with trainer_of(small_config("sampling.temperature=1")) as trainer:
        found = look_at(trainer, lambda row: row.sampled_logprobs_T - 0.5)
    assert found.likely == microscope.RECORD
    assert found.mean == pytest.approx(0.5, abs=1e-3)
    assert found.kl == pytest.approx(float(torch.tensor(0.5).exp() - 1 - 0.5), abs=1e-2)


def test_dropout_in_the_update_is_found() -> None:
    with trainer_of(small_config("model.lora_dropout=0.5", "optim.lr=3e-2")) as trainer:
        take_steps(trainer, 2)
        found = look_at(trainer)
    assert found.likely == microscope.DROPOUT


def test_what_a_filter_cuts_off_is_told_apart_from_what_is_recorded() -> None:
    with trainer_of(small_config("sampling.top_k=2")) as trainer:
        found = look_at(trainer)
    cut = cause(found, microscope.FILTER)
    assert not cut.recorded
    assert cut.mean is not None
    assert cut.mean > 1e-3
    assert "top_k 2" in cut.detail
    assert found.likely in ("", microscope.DTYPE)


def test_a_copy_that_would_be_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microscope, "WIDE_BYTES", 1)
    with trainer_of(small_config()) as trainer:
        found = look_at(trainer)
    rounding = cause(found, microscope.DTYPE)
    assert rounding.mean is None
    assert "not measured" in rounding.detail
