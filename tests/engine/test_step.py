"""One step: its calls in order, what it tells, what its numbers have to agree in, and what a failure leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from grpo_tui.algorithms import policy_gradient_loss
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine import update
from grpo_tui.engine.advantages import add_advantages
from grpo_tui.engine.batch import prepare_batch
from grpo_tui.engine.metrics import measure_step
from grpo_tui.engine.rollout import begin_rollout, next_prompts, sample_groups
from grpo_tui.engine.rows import make_rows
from grpo_tui.engine.scoring import score_groups
from grpo_tui.engine.step import run_step
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import PHASES, GroupRecord, Phase, StepMetrics
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    AdvantagesComputed,
    GroupSampled,
    GroupScored,
    PhaseFinished,
    PhaseStarted,
    ReferenceComputed,
    StepFinished,
    StepStarted,
)
from grpo_tui.ops.advantages import compute_advantages
from tests.engine.support import (
    ALTERNATING,
    CONSTANT,
    LOSS,
    Events,
    free_gate,
    sampled,
    small_config,
    take_steps,
    trainer_of,
)


@pytest.fixture(scope="module")
def two_steps() -> Iterator[tuple[Trainer, Events, list[StepMetrics]]]:
    """Two plain on-policy steps from the start."""
    events = Events()
    with trainer_of(small_config(reward=ALTERNATING), events) as trainer:
        events.clear()
        metrics = take_steps(trainer, 2)
        yield trainer, events, metrics


@cache
def outcome(config: RunConfig, steps: int = 1) -> tuple[list[StepMetrics], dict[str, torch.Tensor], str]:
    """Metrics, weights and hash after some steps."""
    with trainer_of(config) as trainer:
        metrics = take_steps(trainer, steps)
        return metrics, trainer.policy.adapter_state(), trainer.state_hash()


def test_the_events_of_a_step_in_order(two_steps: tuple[Trainer, Events, list[StepMetrics]]) -> None:
    names = two_steps[1].names()
    one = [
        "StepStarted",
        *["PhaseStarted", "PhaseFinished"],
        *["PhaseStarted", "GroupSampled", "GroupSampled", "PhaseFinished"],
        *["PhaseStarted", "GroupScored", "GroupScored", "PhaseFinished"],
        *["PhaseStarted", "AdvantagesComputed", "PhaseFinished"],
        *["PhaseStarted", "ReferenceComputed", "PhaseFinished"],
        *["PhaseStarted", "PhaseFinished"],
        *["PhaseStarted", "ReferenceComputed", "TokensWeighed", "PhaseFinished"],
        "StepFinished",
    ]
    assert names == one + one
    assert [e.phase for e in two_steps[1].of(PhaseStarted)] == [*PHASES, *PHASES]
    assert [e.phase for e in two_steps[1].of(PhaseFinished)] == [*PHASES, *PHASES]
    assert [e.step for e in two_steps[1].of(StepStarted)] == [1, 2]


def test_rewards_advantages_and_metrics_agree(
    two_steps: tuple[Trainer, Events, list[StepMetrics]],
) -> None:
    trainer, events, all_metrics = two_steps
    size = trainer.config.sampling.group_size
    for metrics in all_metrics:
        sampled = [e.group for e in events.of(GroupSampled) if e.step == metrics.step]
        rewards = np.array([e.rewards_G for e in events.of(GroupScored) if e.step == metrics.step])
        verdicts = [
            score.verdict
            for e in events.of(GroupScored)
            if e.step == metrics.step
            for scores in e.scores_G
            for score in scores.values()
        ]
        [advantages] = [
            np.array(e.advantages_P_G) for e in events.of(AdvantagesComputed) if e.step == metrics.step
        ]
        texts = [c.text for group in sampled for c in group.completions]
        assert rewards.tolist() == [[1.0, 0.0, 1.0, 0.0]] * 2
        expected = (rewards - rewards.mean(1, keepdims=True)) / (rewards.std(1, ddof=1, keepdims=True) + 1e-4)
        np.testing.assert_allclose(advantages, expected, atol=1e-12)
        assert metrics.reward_mean == pytest.approx(rewards.mean())
        assert metrics.reward_std == pytest.approx(rewards.std(ddof=1))
        assert metrics.group_std_mean == pytest.approx(rewards.std(1, ddof=1).mean())
        assert metrics.accuracy == pytest.approx(rewards.mean())
        assert metrics.component_means == {"alternating": pytest.approx(rewards.mean())}
        assert sum(metrics.verdict_counts.values()) == len(verdicts) == len(texts)
        assert metrics.verdict_counts.get("correct", 0) == int(rewards.sum())
        assert metrics.advantage_abs_mean == pytest.approx(np.abs(advantages).mean())
        assert metrics.num_completions == len(sampled) * size == len(texts)
        lengths = [c.num_tokens for group in sampled for c in group.completions]
        assert metrics.num_completion_tokens == sum(lengths)
        assert metrics.mean_length == pytest.approx(np.mean(lengths))
        assert metrics.num_truncated == sum(
            c.finish_reason == "length" for group in sampled for c in group.completions
        )
        assert metrics.num_degenerate_groups == 0
        entropies = np.concatenate([c.entropies_T for group in sampled for c in group.completions])
        assert metrics.entropy == pytest.approx(float(entropies.mean()))
        assert metrics.seconds == pytest.approx(sum(metrics.seconds_by_phase.values()))


def test_events_fold_to_a_whole_step(two_steps: tuple[Trainer, Events, list[StepMetrics]]) -> None:
    state = RunState()
    for event in two_steps[1]:
        state = reduce(state, event)
    for detail in state.recent:
        assert detail.metrics is not None
        for completion in (c for group in detail.groups for c in group.completions):
            assert completion.reward is not None
            assert completion.advantage is not None
            assert completion.kl_ref_T is not None
            assert (
                completion.kl_ref_T.shape == completion.logprobs_T.shape == completion.token_offsets_T.shape
            )
        tokens = np.concatenate(
            [c.kl_ref_T for group in detail.groups for c in group.completions if c.kl_ref_T is not None]
        )
        assert detail.metrics.kl_ref == pytest.approx(float(tokens.mean()))


def test_on_policy_ratio_is_one(two_steps: tuple[Trainer, Events, list[StepMetrics]]) -> None:
    for metrics in two_steps[2]:
        assert metrics.clip_fraction == 0.0
        assert metrics.kl_old == 0.0
        assert metrics.num_optimizer_steps == 1


def test_the_old_policy_is_the_update_s_own_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios: list[torch.Tensor] = []

    def spy(inputs: Any) -> Any:
        ratios.append((inputs.logprobs_B_T - inputs.old_logprobs_B_T).detach().exp())
        return policy_gradient_loss(inputs)

    monkeypatch.setattr(LOSS, spy)
    with trainer_of(small_config()) as trainer:
        take_steps(trainer, 2)
    assert ratios
    assert all(bool((ratio == 1.0).all()) for ratio in ratios)


def test_kl_ref_is_exactly_nothing_at_first_and_something_later(
    two_steps: tuple[Trainer, Events, list[StepMetrics]],
) -> None:
    _, events, metrics = two_steps
    told = events.of(ReferenceComputed)
    assert [(e.step, e.exact) for e in told] == [(1, False), (1, True), (2, False), (2, True)]
    for arrays in told[1].kl_ref_P_G:
        assert all(not kl_T.any() for kl_T in arrays)
    assert metrics[0].kl_ref == 0.0
    # The same thing from the log-probs of sampling: equal up to rounding.
    assert max(float(np.abs(kl_T).max()) for arrays in told[0].kl_ref_P_G for kl_T in arrays) < 1e-6
    assert metrics[1].kl_ref is not None
    assert metrics[1].kl_ref > 0.0
    for first, second in ((told[0], told[1]), (told[2], told[3])):
        for ours, theirs in zip(first.kl_ref_P_G, second.kl_ref_P_G, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4)


def test_kl_ref_is_not_measured_when_not_asked_for() -> None:
    events = Events()
    config = small_config("algorithm.beta=0", "algorithm.measure_kl_ref=false")
    with trainer_of(config, events) as trainer:
        [metrics] = take_steps(trainer, 1)
    assert metrics.kl_ref is None
    assert not events.of(ReferenceComputed)
    assert metrics.kl_loss == 0.0


def test_the_base_never_changes(two_steps: tuple[Trainer, Events, list[StepMetrics]]) -> None:
    with trainer_of(small_config()) as untrained:
        assert two_steps[0].policy.base_hash() == untrained.policy.base_hash()


@pytest.mark.parametrize(("epochs", "minibatches"), [(2, 1), (1, 2), (2, 2)])
def test_off_policy_updates(epochs: int, minibatches: int) -> None:
    config = small_config(
        f"algorithm.num_epochs={epochs}", f"algorithm.num_minibatches={minibatches}", "optim.lr=2e-2"
    )
    [metrics], _, _ = outcome(config)
    assert metrics.num_optimizer_steps == epochs * minibatches
    assert metrics.kl_old > 1e-6
    assert metrics.loss != 0.0
    assert np.isfinite(metrics.grad_norm)


def test_minibatches_share_out_every_row_in_each_epoch() -> None:
    rows: list[Any] = list(range(11))
    for epoch in range(3):
        parts = update.split_minibatches(rows, 3, seed=1, step=2, epoch=epoch)
        assert sorted(row for part in parts for row in part) == rows  # type: ignore[type-var]
        assert {len(part) for part in parts} == {3, 4}
    orders = [update.split_minibatches(rows, 3, seed=1, step=2, epoch=epoch) for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert update.split_minibatches(rows, 1, seed=1, step=2, epoch=1) == [rows]


@pytest.mark.parametrize(
    ("aggregation", "minibatches"),
    [("sequence_mean", 1), ("token_mean", 2), ("constant", 1), ("sequence_sum", 2)],
)
def test_microbatches_change_nothing(aggregation: str, minibatches: int) -> None:
    # Adam's stabiliser is raised: it divides by the gradient, so rounding of gradients near 0 would be blown up.
    common = (
        f"algorithm.aggregation={aggregation}",
        f"algorithm.num_minibatches={minibatches}",
        "optim.eps=1e-3",
        "optim.lr=1e-3",
    )
    [whole], weights, _ = outcome(small_config(*common))
    [split], weights_split, _ = outcome(small_config(*common, "optim.max_tokens_per_microbatch=1"))
    # The sum over a sequence's tokens has that many times the rounding of a mean.
    rounding = 1e-6 * (8 if aggregation == "sequence_sum" else 1)
    assert split.loss == pytest.approx(whole.loss, abs=rounding)
    assert split.kl_loss == pytest.approx(whole.kl_loss, abs=rounding)
    assert split.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert whole.grad_norm > 0.0
    for name, weight in weights.items():
        torch.testing.assert_close(weights_split[name], weight, atol=1e-6, rtol=0)


def test_nothing_to_learn_leaves_weights_and_moments_alone() -> None:
    """Adam's memory of earlier steps would move the weights on a gradient of 0."""
    events = Events()
    config = small_config("algorithm.beta=0")
    with trainer_of(config, events) as trainer:
        take_steps(trainer, 1)
        before, moments = trainer.policy.adapter_state(), trainer.snapshot().optimizer
        assert moments["state"]
        with trainer_of(small_config("algorithm.beta=0", reward=CONSTANT)) as other:
            trainer.reward = other.reward
            [metrics] = take_steps(trainer, 1)
        after = trainer.snapshot()
    assert metrics.update_skipped
    assert metrics.num_optimizer_steps == 0
    assert metrics.num_degenerate_groups == 2
    assert metrics.step == 2
    assert metrics.loss == metrics.grad_norm == metrics.kl_old == 0.0
    assert all(torch.equal(before[name], after.adapter[name]) for name in before)
    for index, state in moments["state"].items():
        for key, value in state.items():
            assert torch.equal(value, after.optimizer["state"][index][key])
    # Nothing is learnt, yet how far the policy is from the reference is known (from the sampling pass).
    assert metrics.kl_ref is not None
    assert [e.exact for e in events.of(ReferenceComputed)] == [False, True, False, False]


def test_with_a_kl_term_equal_rewards_are_no_reason_to_skip() -> None:
    [first, second], _, _ = outcome(small_config(reward=CONSTANT), steps=2)
    assert not first.update_skipped
    assert not second.update_skipped
    assert first.num_optimizer_steps == 1
    assert first.grad_norm == 0.0


def test_a_gradient_that_is_no_number_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with trainer_of(small_config()) as trainer:
        take_steps(trainer, 1)
        before, hash_before = trainer.policy.adapter_state(), trainer.state_hash()

        def spoilt(inputs: Any) -> Any:
            outputs = policy_gradient_loss(inputs)
            return replace(outputs, loss=outputs.loss * float("nan"))

        with monkeypatch.context() as patch:
            patch.setattr(LOSS, spoilt)
            with pytest.raises(FloatingPointError, match="gradient norm is nan"):
                take_steps(trainer, 1)
        assert trainer.finished_steps == 1
        assert trainer.state_hash() == hash_before
        assert all(torch.equal(before[name], value) for name, value in trainer.policy.adapter_state().items())
        [retried] = take_steps(trainer, 1)
    assert retried.state_hash == outcome(small_config(), steps=2)[2]


@pytest.mark.parametrize("failing_pass", [1, 2, 3])
def test_an_error_in_the_middle_of_an_update_is_undone(
    monkeypatch: pytest.MonkeyPatch, failing_pass: int
) -> None:
    """With two epochs, so that the third pass fails after an optimiser step was taken."""
    config = small_config("algorithm.num_epochs=3")
    _, _, undisturbed = outcome(config, steps=2)
    with trainer_of(config) as trainer:
        take_steps(trainer, 1)
        before = trainer.state_hash()
        passes = 0

        def failing(inputs: Any) -> Any:
            nonlocal passes
            passes += 1
            if passes == failing_pass:
                raise RuntimeError("CUDA error: an illegal memory access (simulated)")
            return policy_gradient_loss(inputs)

        with monkeypatch.context() as patch:
            patch.setattr(LOSS, failing)
            with pytest.raises(RuntimeError, match="illegal memory access"):
                take_steps(trainer, 1)
        assert passes == failing_pass
        assert trainer.state_hash() == before
        assert not trainer.policy.model.training
        assert all(p.grad is None for p in trainer.policy.trainable_parameters().values())
        take_steps(trainer, 1)
        assert trainer.state_hash() == undisturbed


def test_an_error_in_any_phase_can_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        Phase.PROBLEMS: "next_prompts",
        Phase.SAMPLE: "sample_groups",
        Phase.SCORE: "score_groups",
        Phase.ADVANTAGES: "add_advantages",
        Phase.REFERENCE: "prepare_batch",
        Phase.UPDATE: "update_policy",
    }

    def failing(*_arguments: object) -> None:
        raise MemoryError

    with trainer_of(small_config()) as trainer:
        before = trainer.state_hash()
        for phase in PHASES[:6]:
            with monkeypatch.context() as patch:
                patch.setattr(f"grpo_tui.engine.step.{names[phase]}", failing)
                with pytest.raises(MemoryError):
                    run_step(trainer, free_gate(trainer))
            assert trainer.state_hash() == before
            assert trainer.finished_steps == 0
        assert take_steps(trainer, 1)[0].state_hash == outcome(small_config())[2]


def test_the_calls_make_a_step_by_hand() -> None:
    """The seven calls are usable from Python one by one, and give the step that ``run_step`` gives."""
    with trainer_of(small_config()) as trainer:
        gate = free_gate(trainer)
        rollout = begin_rollout(trainer, next_prompts(trainer, 1))
        sample_groups(trainer, 1, rollout, gate)
        score_groups(trainer, 1, rollout, gate)
        rows = make_rows(trainer, rollout.prompts, rollout.groups)
        groups = add_advantages(trainer, 1, rollout.groups, rows, gate)
        prepare_batch(trainer, 1, rows, gate)
        result = update.update_policy(trainer, 1, rows, gate)
        trainer.finished_steps = 1
        metrics = measure_step(trainer, 1, groups, rows, rollout, result, None, {})
    [expected], _, state_hash = outcome(small_config())
    assert metrics.state_hash == state_hash == expected.state_hash
    assert metrics.loss == expected.loss


def test_steps_from_python() -> None:
    with trainer_of(small_config()) as trainer:
        metrics = list(trainer.steps(2))
    assert [m.step for m in metrics] == [1, 2]
    assert metrics[-1].state_hash == outcome(small_config(), steps=2)[2]


# --- reproducibility -------------------------------------------------------------------------------------


def test_one_seed_one_trajectory() -> None:
    first, again = outcome(small_config(), steps=2), outcome.__wrapped__(small_config(), steps=2)
    other = outcome(small_config("run.seed=1"), steps=2)
    assert [m.state_hash for m in first[0]] == [m.state_hash for m in again[0]]
    assert first[2] == again[2] != other[2]


def groups_of(config: RunConfig, step: int = 1) -> list[GroupRecord]:
    with trainer_of(config) as trainer:
        return sampled(trainer, step).groups


def test_a_group_does_not_depend_on_the_others() -> None:
    """The first group of a step is the same however many are drawn beside it, and so are its first members."""
    few = groups_of(small_config("sampling.prompts_per_step=1"))
    many = groups_of(small_config("sampling.prompts_per_step=5", "sampling.group_size=7"))
    assert few[0].problem == many[0].problem
    for a, b in zip(few[0].completions, many[0].completions, strict=False):
        assert a.token_ids_T.tolist() == b.token_ids_T.tolist()
        np.testing.assert_allclose(a.logprobs_T, b.logprobs_T, atol=1e-5)


def test_a_problem_that_stands_twice_in_a_step_draws_two_groups() -> None:
    groups = groups_of(small_config("data.limit=1", "sampling.prompts_per_step=2"))
    assert groups[0].problem == groups[1].problem
    texts = [[c.token_ids_T.tolist() for c in group.completions] for group in groups]
    assert texts[0] != texts[1]


def test_every_step_draws_anew() -> None:
    config = small_config("data.limit=2")
    first = {g.problem.id: [c.token_ids_T.tolist() for c in g.completions] for g in groups_of(config, 1)}
    second = {g.problem.id: [c.token_ids_T.tolist() for c in g.completions] for g in groups_of(config, 2)}
    assert first.keys() == second.keys()
    assert first != second


def test_advantages_are_taken_in_double_precision() -> None:
    """A large reward with a small spread keeps its digits."""
    rewards = torch.tensor([[1e6, 1e6 + 1e-3]], dtype=torch.float64)
    assert compute_advantages("mean", rewards)[0, 1].item() == pytest.approx(5e-4, rel=1e-5)
    with trainer_of(small_config("algorithm.advantage=mean")) as trainer:
        rollout = sampled(trainer)
        large = [
            replace(
                group,
                completions=tuple(replace(c, reward=1e6 + i * 1e-3) for i, c in enumerate(group.completions)),
            )
            for group in rollout.groups
        ]
        rows = make_rows(trainer, rollout.prompts, large)
        [first, *_] = add_advantages(trainer, 1, large, rows, free_gate(trainer))
    got = [c.advantage for c in first.completions]
    assert got == pytest.approx([-1.5e-3, -5e-4, 5e-4, 1.5e-3], rel=1e-5)


def test_the_hash_of_a_step_is_that_of_the_trainer_after_it() -> None:
    events = Events()
    with trainer_of(small_config(), events) as trainer:
        for metrics in trainer.steps(2):
            assert metrics.state_hash == trainer.state_hash()
    assert len(set(events.hashes.values())) == len(events.of(StepFinished)) == 2


def test_the_state_hash_is_of_every_byte_in_order() -> None:
    """Seen to fail with: the start of each tensor alone."""
    with trainer_of(small_config()) as trainer:
        list(trainer.steps(1))
        digest = hashlib.sha256(b"1")
        for name, parameter in trainer.policy.trainable_parameters().items():
            digest.update(name.encode() + parameter.detach().numpy().tobytes())
            for key, value in sorted(trainer.optimizer.state[parameter].items()):
                digest.update(key.encode() + value.numpy().tobytes())
        digest.update(torch.get_rng_state().numpy().tobytes())
        assert trainer.state_hash() == digest.hexdigest()
