"""Phases *score* and *advantages*: what each completion earned, alone and against its group."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from grpo_tui.engine.control import Gate
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import GroupRecord, Phase
from grpo_tui.events.types import AdvantagesComputed, GroupScored, Progress
from grpo_tui.ops.advantages import compute_advantages
from rewards.base import Sample


def score_groups(trainer: Trainer, step: int, groups: Sequence[GroupRecord], gate: Gate) -> list[GroupRecord]:
    """Reward every completion, group by group, and tell each group's rewards."""
    scored = []
    max_tokens = trainer.config.sampling.max_completion_tokens
    for done, group in enumerate(groups, start=1):
        gate.tick(f"in score, after {done - 1} groups")
        results = trainer.reward.score(samples_of(group, max_tokens))
        rewards = tuple(result.total for result in results)
        scores = tuple(dict(result.components) for result in results)
        trainer.emit(
            GroupScored(
                time=time.time(), step=step, group_index=group.index, rewards_G=rewards, scores_G=scores
            )
        )
        trainer.report(Progress(step=step, phase=Phase.SCORE, done=done, total=len(groups), unit="groups"))
        completions = tuple(
            replace(completion, reward=reward, scores=score)
            for completion, reward, score in zip(group.completions, rewards, scores, strict=True)
        )
        scored.append(replace(group, completions=completions))
    return scored


def samples_of(group: GroupRecord, max_tokens: int) -> list[Sample]:
    """What the reward is given of a group; ``num_tokens`` and ``max_tokens`` let length rewards count tokens."""
    return [
        Sample(
            problem_id=group.problem.id,
            prompt=group.problem.question,
            completion=completion.text,
            gold=group.problem.answer,
            finish_reason=completion.finish_reason,
            metadata={
                **group.problem.metadata,
                "num_tokens": str(completion.num_tokens),
                "max_tokens": str(max_tokens),
            },
        )
        for completion in group.completions
    ]


def add_advantages(trainer: Trainer, step: int, groups: Sequence[GroupRecord]) -> list[GroupRecord]:
    """Turn rewards into advantages, in float64, and tell them."""
    rewards_P_G = torch.tensor([group.rewards for group in groups], dtype=torch.float64)
    advantages_P_G = compute_advantages(trainer.config.algorithm.advantage, rewards_P_G).tolist()
    trainer.emit(
        AdvantagesComputed(
            time=time.time(), step=step, advantages_P_G=tuple(tuple(row) for row in advantages_P_G)
        )
    )
    return [
        replace(
            group,
            completions=tuple(
                replace(completion, advantage=advantage)
                for completion, advantage in zip(group.completions, row, strict=True)
            ),
        )
        for group, row in zip(groups, advantages_P_G, strict=True)
    ]
