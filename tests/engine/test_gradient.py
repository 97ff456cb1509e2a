"""The gradient of a minibatch on the real model: packing changes nothing, and what it measures is what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpo_tui.engine.batch import prepare_batch
from grpo_tui.engine.gradient import UpdateResult, _noise, accumulate_gradient, batch_size, module_norms
from grpo_tui.engine.rows import Row, split_by_tokens, token_batch
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.update import split_minibatches
from grpo_tui.policy.room import Lease, Room
from tests.engine.support import free_gate, rows_of, small_config, take_steps, trainer_of

AGGREGATIONS = (
    "sequence_mean",
    "token_mean",
    "token_mean_minibatch",
    "constant",
    "sequence_sum",
    "answer_sum",
)


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    """After two steps, so that the policy is not its reference any more, with answers of unlike lengths."""
    with trainer_of(
        small_config("sampling.max_completion_tokens=24", "sampling.prompts_per_step=3", "optim.lr=1e-2")
    ) as trainer:
        take_steps(trainer, 2)
        yield trainer


@pytest.fixture(scope="module")
def rows(trainer: Trainer) -> list[Row]:
    rows = rows_of(trainer, 3)
    prepare_batch(trainer, 3, rows, free_gate(trainer))
    assert len({row.num_tokens for row in rows}) > 3
    return rows


@pytest.fixture(autouse=True)
def keep_config(trainer: Trainer) -> Iterator[None]:
    config = trainer.config
    yield
    trainer.config = config


def fresh(rows: list[Row]) -> list[Row]:
    return [replace(row) for row in rows]


def gradient(
    trainer: Trainer, rows: list[Row], minibatch: list[Row] | None = None
) -> tuple[Tensor, UpdateResult]:
    result = UpdateResult(learning_rate=0.0)
    minibatch = rows if minibatch is None else minibatch
    size = batch_size(trainer, rows, minibatch)
    accumulate_gradient(trainer, 3, minibatch, size, free_gate(trainer), result)
    parts = [p.grad.reshape(-1) for p in trainer.policy.trainable_parameters().values() if p.grad is not None]
    return torch.cat(parts).clone(), result


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such room")
def test_every_microbatch_has_the_room_of_the_one_before(
    trainer: Trainer, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: a graph that lives on while the next microbatch goes through."""
    lend, lent = Room.lend, []

    def counted(self: Room) -> Lease | None:
        lease = lend(self)
        lent.append(lease is not None)
        return lease

    monkeypatch.setattr(Room, "lend", counted)
    before = trainer.microbatch_tokens
    trainer.microbatch_tokens = 2 * max(row.total_length for row in rows)
    try:
        gradient(trainer, fresh(rows))
    finally:
        trainer.microbatch_tokens = before
    assert len(lent) > 2
    assert all(lent)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_packing_and_order_change_no_gradient(trainer: Trainer, rows: list[Row], aggregation: str) -> None:
    # Seen to fail: denominators from the microbatch instead of the minibatch.
    config = trainer.config
    algorithm = replace(config.algorithm, aggregation=aggregation, beta=0.2)
    trainer.config = replace(config, algorithm=algorithm)
    whole, measured = gradient(trainer, fresh(rows))
    norm = float(whole.norm())
    assert norm > 1e-3
    for limit, reverse in ((8192, True), (150, False), (1, False)):
        trainer.config = replace(trainer.config, optim=replace(config.optim, max_tokens_per_microbatch=limit))
        given = fresh(rows[::-1] if reverse else rows)
        assert len(split_by_tokens(given, limit)) == {8192: 1, 150: 3, 1: 12}[limit]
        other, again = gradient(trainer, given)
        assert float((other - whole).norm()) < 2e-5 * norm
        assert again.losses == pytest.approx(measured.losses, abs=1e-5)
        assert again.kl_losses == pytest.approx(measured.kl_losses, abs=1e-5)
        assert again.num_tokens == measured.num_tokens
        by_id = {(row.group, row.index): row for row in given}
        for row in rows:
            twin = by_id[row.group, row.index]
            assert twin.weight_T is not None
            assert twin.weight_T.shape == (row.num_tokens,)


def test_minibatches_of_token_mean_add_up_to_the_whole(trainer: Trainer, rows: list[Row]) -> None:
    """At one and the same weights the mean of the minibatches' gradients is the whole batch's: long ones weigh more."""
    # Seen to fail: each minibatch divided by its own tokens.
    config = trainer.config
    trainer.config = replace(config, algorithm=replace(config.algorithm, aggregation="token_mean"))
    whole, _ = gradient(trainer, fresh(rows))
    split = replace(trainer.config.algorithm, num_minibatches=3)
    trainer.config = replace(trainer.config, algorithm=split)
    given = fresh(rows)
    prepare_batch(trainer, 3, given, free_gate(trainer))
    parts = split_minibatches(given, 3, seed=0, step=3, epoch=0)
    assert len({sum(row.num_tokens for row in part) for part in parts}) > 1
    mean = torch.stack([gradient(trainer, given, part)[0] for part in parts]).mean(dim=0)
    assert float((mean - whole).norm()) < 2e-5 * float(whole.norm())


def test_the_sampler_and_the_trainer_agree_in_log_probs(trainer: Trainer, rows: list[Row]) -> None:
    """ALGORITHMS.md, item 12: by one token at a time with a cache, and by one pass over all."""
    # Seen to fail: the trainer's log-probs without the temperature.
    with torch.no_grad():
        logprobs, _ = trainer.policy.logprobs(
            token_batch(rows, trainer.policy), trainer.config.sampling.temperature
        )
    for line, row in zip(logprobs, rows, strict=True):
        torch.testing.assert_close(line[: row.num_tokens], row.sampled_logprobs_T, rtol=0, atol=1e-4)


def test_norms_by_module_make_up_the_whole(trainer: Trainer, rows: list[Row]) -> None:
    # Seen to fail: only one of the two LoRA matrices counted.
    whole, result = gradient(trainer, fresh(rows))
    [norms] = result.module_norms
    assert len(norms) == 2 * trainer.policy.model.config.num_hidden_layers
    assert all(name.startswith("layers.") and name.endswith(("q_proj", "v_proj")) for name in norms)
    assert sum(norm**2 for norm in norms.values()) == pytest.approx(float(whole.square().sum()), rel=1e-4)
    parameters = trainer.policy.trainable_parameters()
    one = next(iter(norms))
    mine = [p.grad for name, p in parameters.items() if f".{one}.lora_" in name and p.grad is not None]
    assert len(mine) == 2
    assert norms[one] == pytest.approx(float(sum(g.square().sum() for g in mine)) ** 0.5, rel=1e-5)
    assert module_norms(parameters) == norms


# --- gradient noise --------------------------------------------------------------------------------------


def test_the_variance_of_halves_is_unbiased_on_a_toy() -> None:
    """g = g₁ + g₂ of 2 and 3 alike groups: the mean estimate is tr Cov(g), and the signal's is ‖E g‖²."""
    # Seen to fail: the parts taken for halves; the signal without the variance taken off.
    generator = torch.Generator().manual_seed(0)
    mean, spread = torch.tensor([0.5, -0.2, 0.0]), torch.tensor([1.0, 0.3, 2.0])
    parameter = torch.nn.Parameter(torch.zeros(3))
    found = []
    for _ in range(4000):
        groups = mean / 5 + spread * torch.randn(5, 3, generator=generator)
        parameter.grad = groups.sum(dim=0)
        found.append(_noise({"p": parameter}, {"p": groups[:2].sum(dim=0)}, 2 / 5))
    variance, signal = torch.tensor(found).mean(dim=0).tolist()
    trace = 5 * float(spread.square().sum())
    assert variance == pytest.approx(trace, rel=0.05)
    assert signal == pytest.approx(float(mean.square().sum()), abs=0.05 * trace)


def test_measuring_the_noise_changes_no_gradient(trainer: Trainer, rows: list[Row]) -> None:
    """Halves of whole groups: completions of one group depend on each other through their mean."""
    # Seen to fail: the second part's gradient in the place of both.
    plain, without = gradient(trainer, fresh(rows))
    algorithm = replace(trainer.config.algorithm, measure_gradient_noise=True)
    trainer.config = replace(trainer.config, algorithm=algorithm)
    halved, measured = gradient(trainer, fresh(rows))
    assert without.noise == []
    assert float((halved - plain).norm()) < 2e-5 * float(plain.norm())
    size, share = batch_size(trainer, rows, rows), 2 / 3
    parts = []
    for half in (0, 1):
        mine = [row for row in fresh(rows) if row.group % 2 == half]
        result = UpdateResult(learning_rate=0.0)
        trainer.config = replace(trainer.config, algorithm=replace(algorithm, measure_gradient_noise=False))
        accumulate_gradient(trainer, 3, mine, size, free_gate(trainer), result)
        grads = [p.grad for p in trainer.policy.trainable_parameters().values()]
        parts.append(torch.cat([g.reshape(-1).clone() for g in grads if g is not None]))
    [(variance, signal)] = measured.noise
    apart = (parts[0] / share - parts[1] / (1 - share)).double().square().sum()
    assert variance == pytest.approx(share * (1 - share) * float(apart), rel=1e-3)
    assert variance + signal == pytest.approx(float(plain.double().square().sum()), rel=1e-3)


def test_one_group_has_no_halves(trainer: Trainer, rows: list[Row]) -> None:
    algorithm = replace(trainer.config.algorithm, measure_gradient_noise=True)
    trainer.config = replace(trainer.config, algorithm=algorithm)
    _, result = gradient(trainer, [row for row in fresh(rows) if row.group == 0])
    assert result.noise == []
