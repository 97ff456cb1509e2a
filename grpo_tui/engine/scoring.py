"""Phase *score*: what each completion earned by itself."""

from __future__ import annotations

import time
from dataclasses import replace

from grpo_tui.engine.control import Gate
from grpo_tui.engine.rollout import Rollout
from grpo_tui.engine.samples import samples_of
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import GroupRecord, Phase
from grpo_tui.events.types import GroupScored, Progress


def score_groups(trainer: Trainer, step: int, rollout: Rollout, gate: Gate) -> None:
    """Reward every completion that has none yet, group by group, and tell each such group's rewards."""
    waiting = [p for p in rollout.places if any(c.reward is None for c in p.filled.completions)]
    for done, place in enumerate(waiting, start=1):
        gate.tick(f"in score, after {done - 1} groups")
        place.group = group = scored(trainer, place.filled, trainer.config.sampling.max_completion_tokens)
        trainer.emit(
            GroupScored(
                time=time.time(),
                step=step,
                group_index=group.index,
                rewards_G=group.rewards,
                scores_G=tuple(dict(completion.scores) for completion in group.completions),
            )
        )
        trainer.report(Progress(step=step, phase=Phase.SCORE, done=done, total=len(waiting), unit="groups"))


def scored(trainer: Trainer, group: GroupRecord, max_tokens: int) -> GroupRecord:
    """The group with a reward for every completion that had none; ``max_tokens`` is the limit they were drawn under."""
    fresh = [completion for completion in group.completions if completion.reward is None]
    results = trainer.reward.score(samples_of(replace(group, completions=tuple(fresh)), max_tokens))
    judged = {
        completion.index: replace(completion, reward=result.total, scores=dict(result.components))
        for completion, result in zip(fresh, results, strict=True)
    }
    return replace(group, completions=tuple(judged.get(c.index, c) for c in group.completions))
