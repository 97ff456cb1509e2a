"""Phase *update*: the policy's weights move, and the critic's where there is one; all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from grpo_tui.engine.advantages import next_baseline
from grpo_tui.engine.control import Gate
from grpo_tui.engine.critic import is_warming_up, update_critic
from grpo_tui.engine.gradient import UpdateResult, accumulate_gradient, batch_size
from grpo_tui.engine.kl_probe import KlProbe
from grpo_tui.engine.memory import with_room
from grpo_tui.engine.rows import Row, is_on_policy
from grpo_tui.engine.schedule import learning_rate
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Snapshot, Trainer
from grpo_tui.engine.trust_region import trust_region_step
from grpo_tui.policy.checkpointing import checkpointed


def update_policy(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> UpdateResult:
    """Take the step's gradient steps. Left half-way (a stop, an error), the weights are as before it."""
    skipped = why_skip(trainer, step, rows)
    baseline = next_baseline(trainer, rows)
    rate = learning_rate(trainer.config.optim, step, trainer.config.run.steps)
    result = UpdateResult(learning_rate=rate, skipped=skipped)
    if not skipped or trainer.critic is not None:
        snapshot = trainer.snapshot()

        def attempt() -> UpdateResult:
            fresh = UpdateResult(learning_rate=rate, skipped=skipped)
            for row in rows:
                row.forget_update()
            trainer.seed_step(step)
            _move(trainer, step, rows, gate, fresh, snapshot)
            return fresh

        def undo() -> None:
            trainer.restore(snapshot)

        try:
            result = with_room(trainer, "the update", rows, attempt, undo)
        except torch.OutOfMemoryError:  # undone already, and not to be tried with even less room
            raise
        except BaseException:
            undo()
            raise
    trainer.baseline = baseline
    return result


def why_skip(trainer: Trainer, step: int, rows: Sequence[Row]) -> str:
    """Why an optimiser step would move the weights by nothing but Adam's memory, or an empty string."""
    config = trainer.config.algorithm
    if is_warming_up(trainer, step):
        total = trainer.config.critic.value_warmup_steps
        return f"the critic warms up (step {step} of {total}): the policy is frozen"
    if not any(row.trains for row in rows):
        if any(row.excluded for row in rows):
            return "every completion is kept out: excluded by you, or cut at the length limit and masked"
        return "every completion was cut at the length limit, and such completions are masked"
    # KL to the policy that sampled pulls only once something has moved the weights away from it.
    apart = config.kl_anchor == "ref" or any(row.ahead for row in rows)
    pulls = config.beta > 0 and config.kl_in == "loss" and apart
    if not pulls and not any(row.has_signal for row in rows):
        if all(row.reward == rows[0].reward for row in rows):
            return "all rewards are equal, so every advantage is 0 and the gradient is exactly 0"
        return "every group's rewards are equal and no KL term pulls, so the gradient is exactly 0"
    return ""


def _move(
    trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate, result: UpdateResult, snapshot: Snapshot
) -> None:
    saves = trainer.config.optim.gradient_checkpointing
    if not result.skipped:
        config = trainer.config.algorithm
        if config.update == "trust_region":
            trust_region_step(trainer, step, rows, gate, result, snapshot.adapter)
        else:
            probe = KlProbe(trainer, step, rows) if config.measure_kl_step else None
            with trainer.policy.training_mode(), checkpointed(trainer.policy, saves):
                _gradient_steps(trainer, step, rows, gate, result, snapshot)
            if probe is not None:
                result.kl_step, result.kl_step_positions = probe.measure(), probe.num_positions
    if trainer.critic is not None:
        with checkpointed(trainer.policy, saves):
            result.critic = update_critic(trainer, step, rows, gate)


def _gradient_steps(
    trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate, result: UpdateResult, snapshot: Snapshot
) -> None:
    config = trainer.config
    for group in trainer.optimizer.param_groups:
        group["lr"] = result.learning_rate
    total = config.algorithm.num_epochs * config.algorithm.num_minibatches
    old_adapter = None if is_on_policy(config.algorithm) else snapshot.adapter
    done = 0
    for epoch in range(config.algorithm.num_epochs):
        for minibatch in split_minibatches(
            rows, config.algorithm.num_minibatches, config.run.seed, step, epoch
        ):
            size = batch_size(trainer, rows, minibatch)
            accumulate_gradient(
                trainer, step, minibatch, size, gate, result, progress=(done, total), old_adapter=old_adapter
            )
            _optimizer_step(trainer, result)
            done += 1


def split_minibatches(
    rows: Sequence[Row], num_minibatches: int, seed: int, step: int, epoch: int
) -> list[list[Row]]:
    """A pass over the rollout batch in shuffled, nearly equal parts; the whole in order when there is one part."""
    if num_minibatches == 1:
        return [list(rows)]
    generator = torch.Generator().manual_seed(derived_seed(seed, "minibatches", step, epoch))
    order = torch.randperm(len(rows), generator=generator)
    return [[rows[i] for i in part.tolist()] for part in order.tensor_split(num_minibatches) if len(part)]


def _optimizer_step(trainer: Trainer, result: UpdateResult) -> None:
    """Clip the gradient's norm and take one optimiser step."""
    limit = trainer.config.optim.max_grad_norm or float("inf")
    norm = torch.nn.utils.clip_grad_norm_(trainer.policy.trainable_parameters().values(), limit)
    if not torch.isfinite(norm):
        raise FloatingPointError(f"the gradient norm is {float(norm)}; the weights were left as they were")
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    result.grad_norms.append(float(norm))
    result.num_optimizer_steps += 1
