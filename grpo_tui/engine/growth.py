"""After a round of scoring: which groups grow (adaptive group size), and which are replaced (dynamic sampling).

**Adaptive group size.** Every prompt starts with ``group_size`` completions. A group with a spread grows, round by
round, up to ``max_group_size``; one whose rewards are all equal grows only while the chance that it will not stay so
is above ``adaptive_doubt``. A completion is compared with those drawn up to its own round and none later
(:mod:`grpo_tui.engine.advantages`), so the decision to go on, which depends on the earlier rounds, biases no advantage
that only subtracts (``mean``, ``leave_one_out``): an extended prompt's expected gradient keeps its direction, and only its
weight grows (``tests/engine/test_growth.py`` enumerates it). ``zscore`` and ``batch`` divide by a deviation of the same
answers, which is a small bias with a fixed size too; aggregations that divide by the batch's number of tokens divide by a
number that the outcomes moved, a bias of the order of one prompt's share.

**Dynamic sampling** (DAPO, arXiv 2503.14476, section 3.2 and equation 11): groups that are all right or all wrong, or
whose rewards are all equal, are replaced by groups of other prompts, a bounded number of times. The paper goes on until
the batch is full; we go on with what there is, and say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from grpo_tui.engine.ordering import plan_of
from grpo_tui.engine.rollout import Place, Rollout
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import GroupRecord
from grpo_tui.ops.advantages import GROUP_RELATIVE


def plan_next_round(trainer: Trainer, step: int, rollout: Rollout) -> None:
    """Say what each place wants next; nothing where the rollout is complete."""
    if _grow(trainer, rollout):
        return
    dead = [place for place in rollout.places if place.filled.degenerate or place.filled.form_only]
    tries = trainer.config.groups.resample_tries
    # Where rewards are not compared inside a group, equal ones are a signal like any other.
    if not dead or not tries or trainer.config.algorithm.advantage not in GROUP_RELATIVE:
        return
    if rollout.num_tries == tries:
        rollout.notes.append(
            f"{len(dead)} of {len(rollout.places)} groups still teach nothing after {tries} rounds of resampling"
        )
        return
    _replace(trainer, step, rollout, dead)


def _grow(trainer: Trainer, rollout: Rollout) -> bool:
    largest, size = trainer.config.groups.max_group_size, trainer.config.sampling.group_size
    if not largest:
        return False
    for place in rollout.places:
        place.wanted = next_round_size(
            place.filled.rewards, size, largest, trainer.config.groups.adaptive_doubt
        )
    return rollout.wants_more


def next_round_size(rewards: Sequence[float], round_size: int, largest: int, doubt: float) -> int:
    """Completions that a group with these rewards should draw next; 0 when it is decided or full."""
    wanted = min(round_size, largest - len(rewards))
    if wanted <= 0:
        return 0
    mixed = len(set(rewards)) > 1
    return wanted if mixed or chance_of_change(len(rewards), wanted) > doubt else 0


def chance_of_change(num_equal: int, num_next: int) -> float:
    """Chance that among ``num_next`` more outcomes one differs from ``num_equal`` equal ones.

    For outcomes of two kinds under Jeffreys' prior, Beta(½, ½): 1 − Π_{i<m} (n + ½ + i) / (n + 1 + i).
    """
    stays = math.prod((num_equal + 0.5 + i) / (num_equal + 1.0 + i) for i in range(num_next))
    return 1.0 - stays


def _replace(trainer: Trainer, step: int, rollout: Rollout, dead: Sequence[Place]) -> None:
    """Put prompts that did not stand in this step yet in the places of dead groups, as far as there are such.

    A pure function of seed, step and try.
    """
    tries = trainer.config.groups.resample_tries
    number = (step - 1) * tries + rollout.num_tries + 1
    rollout.tried |= {place.prompt.problem.id for place in rollout.places}
    order = [trainer.prompts[i] for i in trainer.spare_order.for_step(number, len(trainer.prompts))]
    plan = plan_of(trainer, step)
    able = [prompt for prompt in order if prompt.problem.id not in plan.away] or order
    fresh = [prompt for prompt in able if prompt.problem.id not in rollout.tried] or able
    size = trainer.config.sampling.group_size
    for place, prompt in zip(dead, fresh, strict=False):
        place.prompt, place.group = prompt, None
        place.wanted, place.round = plan.group_sizes.get(prompt.problem.id, size), 0
        place.replaced += 1
        rollout.num_resampled_groups += 1
    rollout.num_tries += 1


def tokens_saved(groups: Sequence[GroupRecord], largest: int) -> int:
    """Tokens that growing every group to ``largest`` would have cost more, by each group's mean length."""
    missing = 0.0
    for group in groups:
        num_tokens = sum(completion.num_tokens for completion in group.completions)
        missing += max(0, largest - len(group.completions)) * num_tokens / len(group.completions)
    return round(missing)
