"""Several updates from one state, each taken back, and one of them kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo_tui.engine.receipt import compute_receipt
from grpo_tui.engine.requests import obey
from grpo_tui.engine.twins import compute_twins
from grpo_tui.events.commands import TwinUpdate, UpdateAs
from grpo_tui.events.records import Phase
from grpo_tui.events.types import RequestFailed, TwinComputed, UpdateChosen
from grpo_tui.events.update_records import LossChoice, TwinComparison
from tests.engine.support import (
    Background,
    Events,
    small_config,
    step_looking,
    take_steps,
    trainer_of,
)

FAST = LossChoice("fast", (("optim.lr", "1e-2"),))
SLOW = LossChoice("slow", (("optim.lr", "1e-4"),))
OTHER = LossChoice("dr_grpo", (("algorithm.name", "dr_grpo"),))


def test_each_twin_is_the_update_that_a_run_under_its_settings_takes() -> None:
    # Seen to fail: twins that begin where the one before ended.
    with trainer_of(small_config("optim.lr=1e-3")) as trainer:
        take_steps(trainer, 1)
        seen: list[TwinComparison] = []
        step_looking(trainer, lambda step: seen.append(compute_twins(trainer, step, (FAST, OTHER, SLOW), 2)))
    comparison = seen[0]
    assert comparison.num_right + comparison.num_wrong == 8
    for result, choice in zip(comparison.results, (FAST, OTHER, SLOW), strict=True):
        assert result.choice == choice
        with trainer_of(small_config("optim.lr=1e-3")) as trainer:
            take_steps(trainer, 1)
            obey_kept = UpdateAs(2, choice)
            metrics = step_looking(trainer, lambda _step, ask=obey_kept: obey(trainer, ask))  # type: ignore[misc]
            receipt = compute_receipt(trainer, 2)
        assert result.grad_norm == pytest.approx(metrics.grad_norm, rel=1e-5)
        assert result.kl == pytest.approx(receipt.kl, rel=1e-3, abs=1e-9)
        assert (result.num_as_wanted, result.num_wanted) == (receipt.num_as_wanted, receipt.num_wanted)
    fast, _, slow = comparison.results
    assert fast.kl > slow.kl > 0.0
    assert fast.step_norm == pytest.approx(100 * slow.step_norm, rel=0.01)


def test_a_kept_twin_is_the_step_of_a_run_under_its_settings_and_of_no_later_one() -> None:
    def hashes(*overrides: str, keep: LossChoice | None = None) -> list[str]:
        with trainer_of(small_config("optim.lr=1e-3", *overrides)) as trainer:

            def look(step: int) -> None:
                if keep is not None:
                    obey(trainer, UpdateAs(step, keep))

            first = step_looking(trainer, look).state_hash
            config = trainer.config
            assert config == small_config("optim.lr=1e-3", *overrides)
            group = trainer.optimizer.param_groups[0]
            second = take_steps(trainer, 1)[0].state_hash
            assert group["lr"] == trainer.config.optim.lr
            return [first, second]

    own = hashes()
    kept = hashes(keep=OTHER)
    whole = hashes("algorithm.name=dr_grpo", "algorithm.beta=0")
    assert kept[0] == whole[0] != own[0]
    assert kept[1] != whole[1]


def test_a_choice_can_be_taken_back_and_must_make_sense() -> None:
    events = Events()
    with trainer_of(small_config("optim.lr=1e-3"), events) as trainer:
        own = take_steps(trainer, 1)[0].state_hash
    events.clear()
    with trainer_of(small_config("optim.lr=1e-3"), events) as trainer:

        def look(step: int) -> None:
            obey(trainer, UpdateAs(step, LossChoice("none")))
            obey(trainer, UpdateAs(step, LossChoice("hot", (("sampling.temperature", "2"),))))
            obey(trainer, UpdateAs(step, LossChoice("critic", (("algorithm.name", "ppo"),))))
            obey(trainer, UpdateAs(step, LossChoice("wrong", (("algorithm.clip", "no such"),))))
            obey(trainer, TwinUpdate(step, ()))
            obey(trainer, UpdateAs(step, FAST))
            obey(trainer, UpdateAs(step, LossChoice("own")))

        assert step_looking(trainer, look).state_hash == own
    told = [event.message for event in events.of(RequestFailed)]
    assert len(told) == 5
    assert "own settings already" in told[0]
    assert "sampled and judged already" in told[1]
    assert "needs a critic" in told[2]
    assert "no such" in told[3]
    assert "name 1 to" in told[4]
    assert [event.choice.name for event in events.of(UpdateChosen)] == ["fast", "own"]


def test_a_twin_that_cannot_be_says_why_beside_those_that_can() -> None:
    with trainer_of(small_config()) as trainer:
        seen: list[TwinComparison] = []
        choices = (LossChoice("ppo", (("algorithm.name", "ppo"),)), FAST)
        step_looking(
            trainer, lambda step: seen.append(compute_twins(trainer, step, choices)), Phase.REFERENCE
        )
    ppo, fast = seen[0].results
    assert "needs a critic" in ppo.unavailable
    assert not fast.unavailable
    assert fast.kl > 0.0
    assert fast.num_correct is None


def test_a_session_keeps_a_twin_by_request_and_records_the_act(tmp_path: Path) -> None:
    from grpo_tui.events.commands import StepOnce, StepPhase
    from grpo_tui.events.types import CommandObeyed, StepFinished

    with Background(small_config("optim.lr=1e-3", "run.steps=2"), tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        while "paused before update" not in session.modes():
            number = len(session.modes())
            session.send(StepPhase())
            session.wait_for(lambda n=number: len(session.modes()) >= n + 2)  # type: ignore[misc]
        session.send(TwinUpdate(1, (FAST, SLOW)))
        session.wait_for_number(TwinComputed, 1)
        session.send(UpdateAs(1, FAST))
        session.wait_for_number(UpdateChosen, 1)
        session.send(StepOnce())
        session.wait_for_number(StepFinished, 1)
        metrics = session.events.of(StepFinished)[0].metrics
        commands = [event.command for event in session.events.of(CommandObeyed)]
    assert metrics.learning_rate == pytest.approx(1e-2)
    assert len(commands) == 1
    assert '"UpdateAs"' in commands[0]
