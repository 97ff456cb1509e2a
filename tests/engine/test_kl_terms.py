"""KL paid in the reward, by hand; and the exact KL in the loss, against whole distributions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.batch import prepare_batch
from grpo_tui.engine.gradient import UpdateResult, accumulate_gradient, batch_size
from grpo_tui.engine.rows import Row, known, padded, token_batch
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.types import PhaseStarted, Progress, ReferenceComputed
from grpo_tui.ops.values import gae_advantages
from tests.engine.support import Events, free_gate, rows_of, small_config, take_steps, trainer_of

BETA = 0.3


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    """After two long steps, so that the policy is far from its reference; answers of unlike lengths."""
    with trainer_of(small_config("sampling.max_completion_tokens=12", "optim.lr=1e-2"), Events()) as trainer:
        take_steps(trainer, 2)
        yield trainer


@pytest.fixture(autouse=True)
def keep_config(trainer: Trainer) -> Iterator[None]:
    config = trainer.config
    yield
    trainer.config = config


def with_parts(config: RunConfig, *parts: str) -> RunConfig:
    """The fixture's config under another algorithm."""
    other = small_config(*parts)
    return replace(config, algorithm=other.algorithm, groups=other.groups, critic=other.critic)


def reference(trainer: Trainer, row: Row) -> Tensor:
    with torch.no_grad(), trainer.policy.reference():
        logprobs, _ = trainer.policy.logprobs(token_batch([row], trainer.policy), 1.5)
    return logprobs[0]


def k(name: str, u: Tensor) -> Tensor:
    return {"k1": u, "k2": u**2 / 2, "k3": (-u).exp() - 1 + u}[name]


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_rloo_pays_kl_out_of_the_reward(trainer: Trainer, estimator: str) -> None:
    """A_k = R'_k − mean of the others' R', R' = R − β Σ_t KL_t at the policy that sampled."""
    # Seen to fail: the mean over tokens instead of the sum; + β; the mean of all in the place of the others'.
    trainer.config = with_parts(
        trainer.config, "algorithm.name=rloo", f"algorithm.beta={BETA}", f"algorithm.kl_estimator={estimator}"
    )
    rows = rows_of(trainer, 3)
    paid = []
    for row in rows:
        u = (row.sampled_logprobs_T - reference(trainer, row)).double()
        paid.append(row.reward - BETA * float(k(estimator, u).sum()))
    assert max(abs(p - row.reward) for p, row in zip(paid, rows, strict=True)) > 0.01
    for row, own in zip(rows, paid, strict=True):
        others = [
            p for p, other in zip(paid, rows, strict=True) if other.group == row.group and other is not row
        ]
        assert row.advantage == pytest.approx(own - sum(others) / len(others), abs=1e-4)


def test_the_running_mean_is_of_what_was_paid(trainer: Trainer) -> None:
    """The baseline of advantages with KL in the reward holds the KL too, or they would all be below it."""
    # Seen to fail: the mean of the rewards before KL.
    parts = ("algorithm.name=reinforce", f"algorithm.beta={BETA}", "algorithm.kl_in=reward")
    trainer.config = with_parts(trainer.config, *parts, "algorithm.kl_estimator=k2")
    snapshot, finished = trainer.snapshot(), trainer.finished_steps
    rows = rows_of(trainer, 3)
    paid = [
        row.reward - BETA * float(k("k2", row.sampled_logprobs_T - reference(trainer, row)).sum())
        for row in rows
    ]
    trainer.baseline = 2.0
    take_steps(trainer, 1)
    assert trainer.baseline == pytest.approx(0.9 * 2.0 + 0.1 * sum(paid) / len(paid), abs=1e-5)
    trainer.baseline, trainer.finished_steps = None, finished
    trainer.restore(snapshot)


def test_the_reference_is_asked_once() -> None:
    """It is needed for the advantages already, and not computed again for the screen."""
    # Seen to fail: computed anew in the phase reference.
    events, gauges = Events(), list[Progress]()
    config = small_config("algorithm.name=rloo", f"algorithm.beta={BETA}")
    with trainer_of(config, events) as trainer:
        trainer.report = gauges.append
        take_steps(trainer, 1)
    assert [g.phase for g in gauges if g.unit == "microbatches" and g.phase != "update"] == ["advantages"]
    assert [e.exact for e in events.of(ReferenceComputed)] == [False, True]
    assert "reference" in [e.phase for e in events.of(PhaseStarted)]


def test_kl_to_the_old_policy_in_the_reward_costs_nothing(trainer: Trainer) -> None:
    """The policy that sampled is its own anchor."""
    plain = [row.advantage for row in rows_of(trainer, 3)]
    trainer.config = with_parts(
        trainer.config,
        "algorithm.kl_in=reward",
        "algorithm.kl_estimator=k1",
        "algorithm.kl_anchor=old",
        "algorithm.beta=5",
    )
    assert [row.advantage for row in rows_of(trainer, 3)] == plain


def test_ppo_pays_each_token_s_kl_at_that_token() -> None:
    """GAE over −β k1 at every token and the reward at the last, against the pure function."""
    # Seen to fail: the reward at the first token; one λ for both advantages and returns.
    config = small_config(
        "algorithm.name=ppo",
        f"algorithm.beta={BETA}",
        "critic.value_warmup_steps=0",
        "critic.gae_lambda=0.8",
        "critic.value_lambda=0.9",
        "critic.gamma=0.97",
        "critic.value_lr=1e-2",
        "sampling.max_completion_tokens=12",
        "optim.lr=1e-2",
    )
    with trainer_of(config) as trainer:
        take_steps(trainer, 2)
        rows = rows_of(trainer, 3)
        references = [reference(trainer, row) for row in rows]
    rewards = []
    for row, ref_T in zip(rows, references, strict=True):
        rewards_T = -BETA * (row.sampled_logprobs_T - ref_T).double()
        rewards_T[-1] += row.reward
        rewards.append(rewards_T)
    values = [known(row.values_T).double() for row in rows]
    assert max(float(v.abs().max()) for v in values) > 1e-3
    lengths = torch.tensor([row.num_tokens for row in rows])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    expected, target = (
        gae_advantages(padded(rewards), padded(values), mask, gamma=0.97, gae_lambda=gae_lambda)
        for gae_lambda in (0.8, 0.9)
    )
    for i, row in enumerate(rows):
        wanted = expected[i, : row.num_tokens]
        torch.testing.assert_close(known(row.advantages_T).double(), wanted, rtol=1e-4, atol=1e-4)
        returns_T = target[i, : row.num_tokens] + values[i]
        torch.testing.assert_close(known(row.returns_T).double(), returns_T, rtol=1e-4, atol=1e-4)
        assert row.advantage == pytest.approx(float(wanted.mean()), abs=1e-4)


# --- the exact KL in the loss ----------------------------------------------------------------------------


def log_distributions(trainer: Trainer, rows: list[Row]) -> list[Tensor]:
    batch = token_batch(rows, trainer.policy)
    with torch.no_grad():
        logits = trainer.policy.logits(batch).double()
    logprobs = torch.log_softmax(logits / trainer.config.sampling.temperature, -1)
    return [logprobs[i, : row.num_tokens] for i, row in enumerate(rows)]


def expected_kl(policy: list[Tensor], anchor: list[Tensor]) -> float:
    """Mean over completions of the mean over tokens of KL(π_θ ‖ π_anchor)."""
    by_row = [float((p.exp() * (p - q)).sum(-1).mean()) for p, q in zip(policy, anchor, strict=True)]
    return sum(by_row) / len(by_row)


@pytest.mark.parametrize("anchor", ["ref", "old"])
@pytest.mark.parametrize("max_tokens", [8192, 1])
def test_the_exact_kl_in_the_loss_is_that_of_whole_distributions(
    trainer: Trainer, anchor: str, max_tokens: int
) -> None:
    """In a first pass and, with moved weights, in a second; the gradient against differences along itself."""
    # Seen to fail: the arguments of KL changed round; the anchor taken at the moved weights.
    config = with_parts(
        trainer.config,
        "algorithm.num_epochs=2",
        f"algorithm.beta={BETA}",
        "algorithm.kl_estimator=exact",
        f"algorithm.kl_anchor={anchor}",
    )
    trainer.config = replace(config, optim=replace(config.optim, max_tokens_per_microbatch=max_tokens))
    rows = rows_of(trainer, 3)
    for row in rows:
        row.advantage = 0.0  # so that the loss is β KL alone
    prepare_batch(trainer, 3, rows, free_gate(trainer))
    adapter = trainer.policy.adapter_state()
    old = log_distributions(trainer, rows)
    with trainer.policy.reference():
        ref = log_distributions(trainer, rows)
    anchored = ref if anchor == "ref" else old
    parameters = trainer.policy.trainable_parameters()

    def loss() -> float:
        result = UpdateResult(learning_rate=0.0)
        size = batch_size(trainer, rows, rows)
        accumulate_gradient(trainer, 3, rows, size, free_gate(trainer), result, old_adapter=adapter)
        assert result.losses[0] == pytest.approx(BETA * result.kl_losses[0], abs=1e-6)
        return result.kl_losses[0]

    first = loss()
    assert first == pytest.approx(expected_kl(old, anchored), rel=1e-4, abs=1e-7)
    assert (first > 1e-3) == (anchor == "ref")
    with torch.no_grad():
        for p in parameters.values():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    moved = trainer.policy.adapter_state()
    second = loss()
    assert second == pytest.approx(expected_kl(log_distributions(trainer, rows), anchored), rel=1e-3)
    assert second > 1e-4
    slopes = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    norm = float(sum(s.square().sum() for s in slopes.values())) ** 0.5

    def along(distance: float) -> float:
        trainer.policy.load_adapter_state({n: moved[n] + distance * slopes[n] / norm for n in moved})
        return BETA * expected_kl(log_distributions(trainer, rows), anchored)

    slope = (along(1e-3) - along(-1e-3)) / 2e-3
    trainer.policy.load_adapter_state(adapter)
    assert slope == pytest.approx(norm, rel=0.02)
