"""PPO's value function: what it learns, when the policy is frozen for it, and how it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from grpo_tui.engine.checkpoint import load_checkpoint, save_checkpoint
from grpo_tui.engine.critic import add_values, critic_of, is_warming_up, update_critic
from grpo_tui.engine.rows import known, token_batch
from grpo_tui.engine.trainer import Trainer
from grpo_tui.runs.schema import RunFileError
from tests.engine.support import CONSTANT, free_gate, rows_of, small_config, take_steps, trainer_of

PPO = ("algorithm.name=ppo", "critic.value_warmup_steps=2", "critic.value_lr=1e-2")


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    with trainer_of(small_config(*PPO)) as trainer:
        yield trainer


def test_the_first_values_are_0_and_the_first_advantages_the_returns(trainer: Trainer) -> None:
    """With γ = λ = 1 a return is the completion's reward, at every token."""
    trainer.config = small_config(*PPO, "critic.gae_lambda=1")
    for row in rows_of(trainer):
        assert not known(row.values_T).any()
        torch.testing.assert_close(known(row.advantages_T), torch.full((row.num_tokens,), row.reward))
        torch.testing.assert_close(known(row.returns_T), known(row.advantages_T))


def test_the_explained_variance_rises_on_a_fixed_batch(trainer: Trainer) -> None:
    # Seen to fail: gradient steps outside the critic's own adapter, where its head alone learns.
    trainer.config = small_config(*PPO, "critic.gae_lambda=1", "critic.value_clip=0")
    rows, gate = rows_of(trainer), free_gate(trainer)
    found, fresh = [], critic_of(trainer).state()
    for _ in range(12):
        add_values(trainer, 1, rows, gate)
        found.append(update_critic(trainer, 1, rows, gate))
    assert all(not p.equal(fresh[name]) for name, p in critic_of(trainer).state().items())
    assert all(p.grad is None for p in trainer.policy.trainable_parameters().values())
    assert found[0].explained_variance == pytest.approx(0.0, abs=1e-6)
    assert found[-1].explained_variance > 0.3
    assert found[-1].value_loss < 0.5 * found[0].value_loss
    assert found[0].value_mean == 0.0
    mean_return = float(torch.cat([known(row.returns_T) for row in rows]).mean())
    assert found[0].return_mean == pytest.approx(mean_return)
    assert found[-1].value_mean == pytest.approx(mean_return, abs=0.2)
    assert all(report.grad_norm > 0 for report in found)


def test_values_move_no_farther_than_the_clip_pulls_them(trainer: Trainer) -> None:
    """The pessimistic loss keeps its gradient where V is outside the clip but on the wrong side; so none is lost."""
    rows, gate = rows_of(trainer), free_gate(trainer)
    trainer.config = small_config(*PPO, "critic.value_clip=0.01", "algorithm.num_epochs=8")
    add_values(trainer, 1, rows, gate)
    update_critic(trainer, 1, rows, gate)
    clipped = [known(row.values_T) for row in rows]
    add_values(trainer, 1, rows, gate)
    moved = max(float((known(r.values_T) - v).abs().max()) for r, v in zip(rows, clipped, strict=True))
    with trainer_of(small_config(*PPO, "critic.value_clip=0", "algorithm.num_epochs=8")) as free:
        add_values(free, 1, rows, free_gate(free))
        update_critic(free, 1, rows, free_gate(free))
        add_values(free, 1, rows, free_gate(free))
        unbounded = max(float(known(r.values_T).abs().max()) for r in rows)
    assert 0 < moved < unbounded


def test_while_the_critic_warms_up_the_policy_is_frozen(trainer: Trainer) -> None:
    # Seen to fail: the policy's update not skipped; the critic skipped along with it.
    policy, critic = trainer.policy.adapter_state(), critic_of(trainer).state()
    first, second = take_steps(trainer, 2)
    assert [is_warming_up(trainer, step) for step in (1, 2, 3)] == [True, True, False]
    for metrics in (first, second):
        assert "the critic warms up" in metrics.update_skipped
        assert metrics.num_optimizer_steps == 0
        assert metrics.update is not None
        assert metrics.update.critic is not None
        assert metrics.update.critic.warming_up
    assert all(p.equal(policy[name]) for name, p in trainer.policy.adapter_state().items())
    assert not trainer.snapshot().optimizer["state"]
    assert any(not p.equal(critic[name]) for name, p in critic_of(trainer).state().items())
    [third] = take_steps(trainer, 1)
    assert (third.update_skipped, third.num_optimizer_steps) == ("", 2)
    assert any(not p.equal(policy[name]) for name, p in trainer.policy.adapter_state().items())
    assert third.update is not None
    assert third.update.critic is not None
    assert not third.update.critic.warming_up


def test_the_critic_and_the_policy_share_a_base_and_nothing_else(trainer: Trainer) -> None:
    # Seen to fail: the policy's parameters told by "lora_" alone.
    base = trainer.policy.base_hash()
    critic = critic_of(trainer)
    assert not set(trainer.policy.trainable_parameters()) & set(critic.parameters())
    batch = token_batch(rows_of(trainer), trainer.policy)
    with torch.no_grad():
        before, _ = trainer.policy.logprobs(batch, 1.0)
        for p in critic.parameters().values():
            p.add_(0.1)
        after, _ = trainer.policy.logprobs(batch, 1.0)
        with trainer.policy.reference():
            reference, _ = trainer.policy.logprobs(batch, 1.0)
    assert torch.equal(before, after)
    assert torch.equal(before, reference)
    take_steps(trainer, 3)
    assert trainer.policy.base_hash() == base
    with critic.active():
        assert all(p.requires_grad for p in critic.parameters().values())
        assert not any(p.requires_grad for p in trainer.policy.trainable_parameters().values())
    assert all(p.requires_grad for p in trainer.policy.trainable_parameters().values())
    with pytest.raises(KeyError), critic.active():
        raise KeyError
    assert trainer.policy.model.active_adapter == "default"


def test_values_do_not_depend_on_how_rows_are_packed(trainer: Trainer) -> None:
    take_steps(trainer, 1)
    whole, split = rows_of(trainer, 2), rows_of(trainer, 2)
    trainer.config = small_config(*PPO, "optim.max_tokens_per_microbatch=1")
    add_values(trainer, 2, split, free_gate(trainer))
    assert any(known(row.values_T).any() for row in whole)
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(known(a.values_T), known(b.values_T), rtol=1e-4, atol=1e-5)


def test_equal_rewards_are_a_signal_to_ppo() -> None:
    """They are compared with the critic's values, not with each other."""
    config = small_config("algorithm.name=ppo", "critic.value_warmup_steps=0", reward=CONSTANT)
    with trainer_of(config) as trainer:
        [metrics] = take_steps(trainer, 1)
    assert (metrics.update_skipped, metrics.num_degenerate_groups) == ("", 2)
    assert metrics.grad_norm > 0.0


# --- on disk ---------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_the_critic(trainer: Trainer, tmp_path: Path) -> None:
    take_steps(trainer, 1)
    path, _ = save_checkpoint(trainer, tmp_path)
    names = {file.name for file in path.iterdir()}
    assert {"critic.safetensors", "critic_optimizer.safetensors"} < names
    saved = trainer.snapshot()
    assert saved.critic is not None
    with trainer_of(small_config(*PPO, "run.seed=4")) as other:
        load_checkpoint(other, path)
        loaded = other.snapshot()
    assert loaded.critic is not None
    assert loaded.critic_optimizer is not None
    assert saved.critic_optimizer is not None
    assert all(loaded.critic[name].equal(p) for name, p in saved.critic.items())
    for index, moments in saved.critic_optimizer["state"].items():
        for key, value in moments.items():
            assert loaded.critic_optimizer["state"][index][key].equal(value)


def test_a_critic_of_another_shape_or_none_is_refused_in_one_line(trainer: Trainer, tmp_path: Path) -> None:
    with trainer_of(small_config()) as without:
        take_steps(without, 1)
        plain, _ = save_checkpoint(without, tmp_path / "plain")
    with pytest.raises(RunFileError, match=r"holds no critic, which advantage 'gae' needs") as caught:
        load_checkpoint(trainer, plain)
    assert "\n" not in str(caught.value)
    take_steps(trainer, 1)
    whole, _ = save_checkpoint(trainer, tmp_path / "whole")
    with (
        trainer_of(small_config()) as without,
        pytest.raises(RunFileError, match=r"holds a critic, which only advantage 'gae' has"),
    ):
        load_checkpoint(without, whole)
