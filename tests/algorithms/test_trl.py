"""Against TRL's own code, where it is installed: ``GRPOTrainer._compute_loss`` and its advantages, in float64.

Written for TRL 1.16.0; an older one is skipped.
"""

from __future__ import annotations

import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from grpo_tui.algorithms import LossInputs, policy_gradient_loss
from grpo_tui.ops.advantages import compute_advantages
from grpo_tui.ops.aggregate import BatchSize, kl_token_weights, token_weights
from grpo_tui.ops.masking import completion_mask
from tests.algorithms.batches import F64, NAN, algorithm

pytest.importorskip("trl", minversion="1.16.0")
grpo_trainer: Any = pytest.importorskip("trl.trainer.grpo_trainer")

ROWS, WIDTH, LIMIT = 6, 5, 9
LENGTHS = torch.tensor([5, 1, 3, 2, 5, 4])
TOLERANCE = 1e-12


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    # TRL chooses SAPO's temperatures by torch.where of two Python numbers, which have the default dtype.
    torch.set_default_dtype(F64)
    yield
    torch.set_default_dtype(torch.float32)


class OffPolicy:
    """Six completions of uneven lengths whose log-probs have moved, some past each of the bounds."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(24)
        draws = torch.randn(3, ROWS, WIDTH, generator=generator)
        self.logprobs = -2 + draws[0]
        self.old = self.logprobs + 0.7 * draws[1]
        self.ref = self.logprobs + 0.4 * draws[2]
        self.advantages = torch.tensor([1.0, -0.5, 2.0, -1.0, 0.0, -2.0])
        self.mask = completion_mask(LENGTHS, WIDTH)

    def ours(self, name: str, **changes: Any) -> tuple[float, Tensor]:
        config = algorithm(name, **changes)
        # 40 tokens in a rollout batch of two minibatches; 20 in this one.
        size = BatchSize(ROWS, 20.0, LIMIT, float(self.mask.sum()))
        logprobs = self.logprobs.masked_fill(~self.mask, NAN).requires_grad_()
        loss = policy_gradient_loss(
            LossInputs(
                config=config,
                logprobs_B_T=logprobs,
                old_logprobs_B_T=self.old,
                ref_logprobs_B_T=self.ref,
                advantages=self.advantages.unsqueeze(1),
                mask_B_T=self.mask,
                weights_B_T=token_weights(config.aggregation, self.mask, size, F64),
                kl_weights_B_T=kl_token_weights(config.aggregation, self.mask, size, F64),
            )
        ).loss
        return loss.item(), torch.autograd.grad(loss, logprobs)[0]

    def theirs(self, microbatches: int, **settings: Any) -> tuple[float, Tensor]:
        logprobs = self.logprobs.clone().requires_grad_()
        total = torch.zeros(())
        for rows in torch.arange(ROWS).chunk(microbatches):
            inputs = {
                "prompt_ids": torch.zeros(len(rows), 1, dtype=torch.int64),
                "prompt_mask": torch.ones(len(rows), 1, dtype=torch.int64),
                "completion_ids": torch.zeros(len(rows), WIDTH, dtype=torch.int64),
                "completion_mask": self.mask[rows].long(),
                "advantages": self.advantages[rows],
                "old_per_token_logps": self.old[rows],
                "ref_per_token_logps": self.ref[rows],
                "num_items_in_batch": torch.tensor(40),
            }
            stub = _trainer(logprobs[rows], microbatches, **settings)
            total = total + grpo_trainer.GRPOTrainer._compute_loss(stub, None, inputs)
        return total.item(), torch.autograd.grad(total, logprobs)[0]


def _trainer(logprobs: Tensor, microbatches: int, **settings: Any) -> SimpleNamespace:
    """What ``_compute_loss`` reads of a trainer: TRL's defaults, and some of them changed."""
    args = {
        "use_bias_correction_kl": False,
        "delta": None,
        "sapo_temperature_pos": 1.0,
        "sapo_temperature_neg": 1.05,
        "vespo_k_pos": 2.0,
        "vespo_lambda_pos": 3.0,
        "vespo_k_neg": 3.0,
        "vespo_lambda_neg": 2.0,
        "steps_per_generation": 2 * microbatches,
    }
    trainer = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "beta": 0.0,
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "max_completion_length": LIMIT,
        "current_gradient_accumulation_steps": microbatches,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "aux_loss_enabled": False,
        "use_vllm": False,
        "vllm_importance_sampling_correction": False,
        "_entropy_bonus_enabled": False,
    }
    for name, value in settings.items():
        (args if name in args else trainer)[name] = value
    return SimpleNamespace(
        **trainer,
        args=SimpleNamespace(**args),
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(
            num_processes=1, gather=lambda tensor: tensor, reduce=lambda tensor, reduction: tensor
        ),
        get_gamma_weights=grpo_trainer.GRPOTrainer.get_gamma_weights,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, torch.zeros_like(logprobs), None),
    )


GSPO = {"importance_sampling_level": "sequence", "epsilon_low": 3e-4, "epsilon_high": 4e-4}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("grpo", {}, {"loss_type": "grpo"}),
    ("grpo", {"clip_delta": 1.3}, {"loss_type": "grpo", "delta": 1.3}),
    ("grpo", {"kl_estimator": "k3_ratio"}, {"loss_type": "grpo", "use_bias_correction_kl": True}),
    ("bnpo", {}, {"loss_type": "bnpo"}),
    ("dr_grpo", {}, {"loss_type": "dr_grpo"}),
    ("dapo", {}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    ("gspo", {}, {"loss_type": "grpo", **GSPO}),
    ("cispo", {}, {"loss_type": "cispo", "epsilon_high": 5.0}),
    ("cispo", {"clip_high": 1.2}, {"loss_type": "cispo", "epsilon_high": 1.2}),
    ("sapo", {}, {"loss_type": "sapo"}),
    ("luspo", {}, {"loss_type": "luspo", "importance_sampling_level": "sequence"}),
    ("vespo", {}, {"loss_type": "vespo"}),
]


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize(("name", "changes", "settings"), CASES)
def test_value_and_gradient(
    name: str, changes: dict[str, Any], settings: dict[str, Any], beta: float
) -> None:
    # Seen to fail with: CISPO's cap at 1 + cap; φ without e^λ; δ on both signs of A; e^{u} for e^{−u} in k3; M for L_max.
    batch = OffPolicy()
    loss, gradient = batch.ours(name, beta=beta, **changes)
    assert gradient.abs().max() > 1e-3
    # BNPO's denominator is the microbatch's there, so it is compared in one.
    for microbatches in (1,) if name == "bnpo" else (1, 2, 3):
        their_loss, their_gradient = batch.theirs(microbatches, beta=beta, **settings)
        assert loss == pytest.approx(their_loss, abs=TOLERANCE)
        torch.testing.assert_close(gradient, their_gradient, rtol=0, atol=TOLERANCE)


def _their_advantages(rewards_P_G: Tensor, scale_rewards: str) -> Tensor:
    """TRL's lines that turn rewards into advantages, run as they stand in its source."""
    source = inspect.getsource(grpo_trainer.GRPOTrainer._generate_and_score_completions)
    start = source.index('        if self.multi_objective_aggregation == "sum_then_normalize":')
    end = source.index("        # Slice to keep only the local part of the data", start)
    names: dict[str, Any] = {
        "self": SimpleNamespace(
            multi_objective_aggregation="sum_then_normalize",
            scale_rewards=scale_rewards,
            reward_weights=torch.ones(1),
        ),
        "torch": torch,
        "nanstd": grpo_trainer.nanstd,
        "device": "cpu",
        "rewards_per_func": rewards_P_G.reshape(-1, 1),
        "unscorable_mask": torch.zeros(rewards_P_G.numel(), dtype=torch.bool),
        "num_generations": rewards_P_G.shape[1],
    }
    exec(textwrap.dedent(source[start:end]), names)
    advantages = names["advantages"]
    assert isinstance(advantages, Tensor)
    return advantages.reshape(rewards_P_G.shape)


@pytest.mark.parametrize(("name", "theirs"), [("zscore", "group"), ("batch", "batch"), ("mean", "none")])
def test_advantages(name: str, theirs: str) -> None:
    # Seen to fail with: G instead of G − 1 in the deviation; std over the centred rewards.
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.3, 0.1, 2.0, -1.0], [0.5, 0.5, 0.5, 0.5]])
    ours = compute_advantages(name, rewards)
    torch.testing.assert_close(ours, _their_advantages(rewards, theirs), rtol=0, atol=TOLERANCE)
