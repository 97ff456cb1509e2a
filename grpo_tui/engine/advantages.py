"""Phase *advantages*: what each completion earned against its group, a running mean, or a critic.

A completion is compared with those drawn up to its own round (:mod:`grpo_tui.engine.growth` says why).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.engine.batch import add_reference_logprobs
from grpo_tui.engine.control import Gate
from grpo_tui.engine.critic import add_values
from grpo_tui.engine.rows import Row, known, nested, padded
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import GroupRecord, Phase
from grpo_tui.events.types import AdvantagesComputed
from grpo_tui.ops.advantages import compute_advantages, running_mean
from grpo_tui.ops.kl import ESTIMATORS
from grpo_tui.ops.masking import completion_mask
from grpo_tui.ops.values import gae_advantages


def add_advantages(
    trainer: Trainer, step: int, groups: Sequence[GroupRecord], rows: Sequence[Row], gate: Gate
) -> list[GroupRecord]:
    """Turn rewards into advantages, in float64, on the rows and in the groups, and tell them."""
    config = trainer.config.algorithm
    if pays_kl(config) and config.kl_anchor == "ref":
        add_reference_logprobs(trainer, step, rows, gate, Phase.ADVANTAGES)
    if config.advantage == "gae":
        _by_critic(trainer, step, rows, gate)
    else:
        _by_reward(trainer, groups, rows)
    return _tell(trainer, step, groups, rows)


def pays_kl(config: AlgorithmConfig) -> bool:
    """Whether KL is taken off the rewards."""
    return config.beta > 0 and config.kl_in == "reward"


def paid_rewards(trainer: Trainer, rows: Sequence[Row]) -> list[float]:
    """The reward of each completion, less what its KL costs where that is paid in the reward."""
    if not pays_kl(trainer.config.algorithm):
        return [row.reward for row in rows]
    return [row.reward - float(kl_costs(trainer, row).sum()) for row in rows]


def kl_costs(trainer: Trainer, row: Row) -> Tensor:
    """What KL costs each token when it is paid in the reward: β times its estimate, on sampling log-probs.

    In bf16 those differ from the update's own by rounding, so that the cost is not quite 0 at the reference itself.
    """
    config = trainer.config.algorithm
    # The policy that sampled is its own anchor: no distance yet.
    anchor = row.sampled_logprobs_T if config.kl_anchor == "old" else known(row.ref_logprobs_T)
    return config.beta * ESTIMATORS[config.kl_estimator]((row.sampled_logprobs_T - anchor).double())


def _by_reward(trainer: Trainer, groups: Sequence[GroupRecord], rows: Sequence[Row]) -> None:
    """Advantages of whole completions, each against those drawn up to its own round."""
    config = trainer.config.algorithm
    paid = paid_rewards(trainer, rows)
    sizes = [len(group.completions) for group in groups]
    rewards_P_G = padded(list(torch.split(torch.tensor(paid, dtype=torch.float64), sizes)))
    rounds_P_G = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([c.round for c in group.completions]) for group in groups],
        batch_first=True,
        padding_value=-1,
    )
    compared_P_G = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([not c.excluded for c in group.completions]) for group in groups],
        batch_first=True,
        padding_value=False,
    )
    mean = _mean_compared(rows, paid)
    baseline = next((known for known in (trainer.baseline, mean) if known is not None), 0.0)
    advantages_P_G = torch.zeros_like(rewards_P_G)
    for number in range(int(rounds_P_G.max()) + 1):
        known_by_then = (rounds_P_G >= 0) & (rounds_P_G <= number) & compared_P_G
        upto = compute_advantages(config.advantage, rewards_P_G, known_by_then, baseline=baseline)
        advantages_P_G = torch.where((rounds_P_G == number) & compared_P_G, upto, advantages_P_G)
    for row, advantage in zip(rows, advantages_P_G[rounds_P_G >= 0].tolist(), strict=True):
        row.advantage = advantage


def next_baseline(trainer: Trainer, rows: Sequence[Row]) -> float | None:
    """The running mean of rewards after this step; None where nothing needs one."""
    config = trainer.config.algorithm
    if config.advantage != "ema":
        return trainer.baseline
    mean = _mean_compared(rows, paid_rewards(trainer, rows))
    return trainer.baseline if mean is None else running_mean(trainer.baseline, mean, config.baseline_decay)


def _mean_compared(rows: Sequence[Row], paid: Sequence[float]) -> float | None:
    """Mean of what was paid for those that take part; None where a person has excluded all."""
    taking_part = [reward for row, reward in zip(rows, paid, strict=True) if not row.excluded]
    return sum(taking_part) / len(taking_part) if taking_part else None


def _by_critic(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> None:
    """Advantages of tokens by generalised advantage estimation over the critic's values, and the critic's targets.

    The two have a λ each, as in VC-PPO (arXiv 2503.01491): with the reward at the end, targets of λ < 1 would teach the
    critic nothing about tokens far from it, and let it explain its own guesses.
    """
    add_values(trainer, step, rows, gate)
    rewards, values = [], []
    for row in rows:
        rewards_T = torch.zeros(row.num_tokens, dtype=torch.float64)
        if pays_kl(trainer.config.algorithm):
            rewards_T -= kl_costs(trainer, row).cpu()
        rewards_T[-1] += row.reward
        rewards.append(rewards_T)
        values.append(known(row.values_T).double().cpu())
    mask = completion_mask(
        torch.tensor([row.num_tokens for row in rows]), max(row.num_tokens for row in rows)
    )
    critic = trainer.config.critic
    rewards_B_T, values_B_T = padded(rewards), padded(values)
    advantages_B_T, target_B_T = (
        gae_advantages(rewards_B_T, values_B_T, mask, gamma=critic.gamma, gae_lambda=gae_lambda)
        for gae_lambda in (critic.gae_lambda, critic.value_lambda)
    )
    returns_B_T = target_B_T + values_B_T
    for i, row in enumerate(rows):
        advantages_T = advantages_B_T[i, : row.num_tokens]
        row.advantages_T = advantages_T.to(row.sampled_logprobs_T)
        row.returns_T = returns_B_T[i, : row.num_tokens].to(row.sampled_logprobs_T)
        if row.excluded:
            row.advantages_T = torch.zeros_like(row.advantages_T)
        row.advantage = float(row.advantages_T.mean())


def _tell(
    trainer: Trainer, step: int, groups: Sequence[GroupRecord], rows: Sequence[Row]
) -> list[GroupRecord]:
    told, start = [], 0
    for group in groups:
        mine = rows[start : start + len(group.completions)]
        start += len(mine)
        completions = tuple(
            replace(
                completion,
                advantage=row.advantage,
                advantages_T=None if row.advantages_T is None else row.advantages_T.float().cpu().numpy(),
            )
            for completion, row in zip(group.completions, mine, strict=True)
        )
        told.append(replace(group, completions=completions))
    by_token = [c.advantages_T for group in told for c in group.completions if c.advantages_T is not None]
    trainer.emit(
        AdvantagesComputed(
            time=time.time(),
            step=step,
            advantages_P_G=nested(rows, [row.advantage for row in rows]),
            advantages_P_G_T=nested(rows, by_token) if by_token else (),
        )
    )
    return told
