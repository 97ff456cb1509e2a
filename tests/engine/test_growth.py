"""Adaptive group size: who grows, what the later rounds draw, what they are compared with, and that no bias comes of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from grpo_tui.config.load import load_config
from grpo_tui.engine.advantages import add_advantages
from grpo_tui.engine.growth import chance_of_change, next_round_size, tokens_saved
from grpo_tui.engine.rows import Row
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.events.types import AdvantagesComputed, GroupSampled
from tests.engine.support import (
    ALTERNATING,
    CONSTANT,
    Events,
    free_gate,
    sampled,
    small_config,
    take_steps,
    trainer_of,
)
from tests.events.builders import group as built_group


@pytest.mark.parametrize(
    ("num_equal", "num_next", "chance"),
    [
        (1, 1, 1 / 4),
        (2, 1, 1 / 6),
        (2, 2, 1 - 5 / 6 * 7 / 8),
        (4, 4, 1 - 4.5 / 5 * 5.5 / 6 * 6.5 / 7 * 7.5 / 8),
        (8, 0, 0.0),
    ],
)
def test_the_chance_of_change_by_hand(num_equal: int, num_next: int, chance: float) -> None:
    # Seen to fail: a uniform prior, (n + 1 + i) / (n + 2 + i).
    assert chance_of_change(num_equal, num_next) == pytest.approx(chance)


@pytest.mark.parametrize(("num_equal", "num_next"), [(1, 3), (4, 4), (8, 24), (64, 8)])
def test_the_chance_of_change_is_the_posterior_s(num_equal: int, num_next: int) -> None:
    """1 − E[pᵐ] under Beta(n + ½, ½), by the Beta function."""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    stays = math.exp(log_beta(num_equal + num_next + 0.5, 0.5) - log_beta(num_equal + 0.5, 0.5))
    assert chance_of_change(num_equal, num_next) == pytest.approx(1 - stays)


@pytest.mark.parametrize(
    ("rewards", "size", "largest", "doubt", "wanted"),
    [
        ((1, 0), 2, 8, 1.0, 2),  # mixed
        ((1, 0, 1), 2, 4, 1.0, 1),  # mixed, room for one
        ((1, 0, 1, 0), 2, 4, 0.0, 0),  # full
        ((1,) * 4, 4, 8, 0.28, 4),  # equal; the chance is 0.2817
        ((1,) * 4, 4, 8, 0.29, 0),
        ((0,) * 4, 4, 8, 0.28, 4),  # which value they share does not matter
        ((0,) * 4, 4, 5, 0.09, 1),  # with room for one the chance is 0.1
        ((0,) * 4, 4, 5, 0.11, 0),
        ((1, 1, 1, 0), 4, 3, 0.0, 0),
    ],
)
def test_who_grows(rewards: Sequence[float], size: int, largest: int, doubt: float, wanted: int) -> None:
    # Seen to fail: an all-equal group that never grows; one that is asked for more than there is room.
    assert next_round_size(rewards, size, largest, doubt) == wanted


def test_tokens_saved_by_hand() -> None:
    rng = np.random.default_rng(0)
    groups = [
        built_group(rng, 0, group_size=2, num_tokens=10),
        built_group(rng, 1, group_size=6, num_tokens=7),
    ]
    assert tokens_saved(groups, 8) == 6 * 10 + 2 * 7
    assert tokens_saved(groups, 6) == 4 * 10
    assert tokens_saved(groups, 0) == 0


# --- in a step -------------------------------------------------------------------------------------------


def test_a_grown_group_is_the_fixed_group_of_that_size() -> None:
    """The same completions in the same order: what is drawn later does not depend on when."""
    # Seen to fail: later rounds whose streams start at index 0 again.
    events = Events()
    grown_config = small_config("sampling.group_size=2", "groups.max_group_size=6", reward=ALTERNATING)
    with trainer_of(grown_config, events) as trainer:
        [metrics] = take_steps(trainer, 1)
    with trainer_of(small_config("sampling.group_size=6")) as trainer:
        fixed = sampled(trainer).groups
    told = events.of(GroupSampled)
    assert [len(event.group.completions) for event in told] == [2, 2, 4, 4, 6, 6]
    for grown, whole in zip([event.group for event in told[-2:]], fixed, strict=True):
        assert [c.round for c in grown.completions] == [0, 0, 1, 1, 2, 2]
        assert [c.index for c in grown.completions] == list(range(6))
        for a, b in zip(grown.completions, whole.completions, strict=True):
            assert a.token_ids_T.tolist() == b.token_ids_T.tolist()
            np.testing.assert_allclose(a.logprobs_T, b.logprobs_T, atol=1e-5)
    assert (metrics.num_completions, metrics.num_tokens_saved) == (12, 0)
    assert metrics.num_sampled_tokens == metrics.num_completion_tokens


def test_a_completion_is_compared_with_those_up_to_its_own_round() -> None:
    # Seen to fail: every round compared with the whole group.
    events = Events()
    config = small_config(
        "sampling.group_size=2",
        "groups.max_group_size=6",
        "algorithm.advantage=leave_one_out",
        reward=ALTERNATING,
    )
    with trainer_of(config, events) as trainer:
        take_steps(trainer, 1)
    [told] = events.of(AdvantagesComputed)
    for advantages_G in told.advantages_P_G:
        assert advantages_G == pytest.approx((1, -1, 2 / 3, -2 / 3, 3 / 5, -3 / 5))


@pytest.mark.parametrize(("doubt", "size"), [(0.28, 8), (0.29, 4)])
def test_an_undecided_group_grows_and_a_decided_one_saves_its_tokens(doubt: float, size: int) -> None:
    config = small_config("groups.max_group_size=8", f"groups.adaptive_doubt={doubt}", reward=CONSTANT)
    with trainer_of(config) as trainer:
        [metrics] = take_steps(trainer, 1)
    assert metrics.num_completions == 2 * size
    assert metrics.num_tokens_saved == (0 if size == 8 else metrics.num_completion_tokens)


# --- no bias ---------------------------------------------------------------------------------------------

ROUND = 2
REWARDS = (1.0, 0.3, 0.0)
"""Of three answers: unlike each other, so that a wrong baseline turns the gradient and does not only stretch it."""
POLICIES = [(0.0, 0.0, 0.0), (1.0, 0.0, -1.0), (-2.0, 1.0, 0.5), (0.2, -1.5, 1.5)]


def by_round(advantage: str, groups: Sequence[Sequence[int]], *, pool: bool) -> list[list[float]]:
    """The engine's advantages of groups of answers, the first ``ROUND`` of each drawn before the others."""
    records, rows = [], []
    for place, answers in enumerate(groups):
        [template] = built_group(np.random.default_rng(0), group_size=1, num_tokens=2).completions
        completions: list[CompletionRecord] = []
        for index, answer in enumerate(answers):
            number = 0 if pool else index // ROUND
            completions.append(
                CompletionRecord(
                    index=index,
                    text=str(answer),
                    finish_reason="stop",
                    token_ids_T=template.token_ids_T,
                    token_offsets_T=template.token_offsets_T,
                    logprobs_T=template.logprobs_T,
                    entropies_T=template.entropies_T,
                    reward=REWARDS[answer],
                    round=number,
                )
            )
            rows.append(
                Row(
                    group=place,
                    index=index,
                    prompt_ids=(1,),
                    completion_ids_T=torch.zeros(1, dtype=torch.long),
                    sampled_logprobs_T=torch.zeros(1),
                    reward=REWARDS[answer],
                )
            )
        problem = built_group(np.random.default_rng(0), group_size=1).problem
        records.append(GroupRecord(index=place, problem=problem, completions=tuple(completions)))
    trainer = cast(
        "Trainer",
        SimpleNamespace(
            config=load_config(overrides=[f"algorithm.advantage={advantage}"]),
            baseline=None,
            emit=lambda _event: None,
        ),
    )
    told = add_advantages(trainer, 1, records, rows, free_gate(trainer))
    return [[float(c.advantage or 0.0) for c in group.completions] for group in told]


def expected_gradient(
    logits: Sequence[float], num_answers: int, advantage: str, *, pool: bool = False
) -> tuple[np.ndarray, np.ndarray, float]:
    """Over all outcomes of the two-round scheme: E[Σ_k A_k ∇ log π(y_k)], the true ∇E[R], and the chance to grow."""
    z = np.exp(np.array(logits[:num_answers]))
    policy = z / z.sum()
    paths = []
    for first in itertools.product(range(num_answers), repeat=ROUND):
        rewards = [REWARDS[answer] for answer in first]
        # Doubt 1: only a mixed group grows, so that growing hangs on the outcomes as much as it can.
        more = next_round_size(rewards, ROUND, 2 * ROUND, doubt=1.0)
        assert more in (0, ROUND)
        paths += [first + later for later in itertools.product(range(num_answers), repeat=more)]
    advantages = by_round(advantage, paths, pool=pool)
    scores = np.eye(num_answers) - policy  # ∇ log π(answer), by answer
    chances = [math.prod(policy[answer] for answer in path) for path in paths]
    assert sum(chances) == pytest.approx(1.0)
    estimate = np.zeros(num_answers)
    for path, chance, gains in zip(paths, chances, advantages, strict=True):
        estimate += chance * sum(gain * scores[answer] for answer, gain in zip(path, gains, strict=True))
    truth = sum(policy[answer] * REWARDS[answer] * scores[answer] for answer in range(num_answers))
    grows = sum(chance for path, chance in zip(paths, chances, strict=True) if len(path) > ROUND)
    return estimate, np.asarray(truth), grows


@pytest.mark.parametrize("logits", POLICIES)
@pytest.mark.parametrize("num_answers", [2, 3])
def test_growing_keeps_the_direction_of_the_expected_gradient(
    logits: tuple[float, ...], num_answers: int
) -> None:
    """With leave-one-out it is E[number of completions] times the true gradient, to the last digit."""
    # Seen to fail: every round compared with the whole group; the sign of the advantage.
    estimate, truth, grows = expected_gradient(logits, num_answers, "leave_one_out")
    assert 0.0 < grows < 1.0
    np.testing.assert_allclose(estimate, (ROUND + grows * ROUND) * truth, atol=1e-12)


@pytest.mark.parametrize("logits", POLICIES)
def test_growing_keeps_it_with_the_mean_of_the_group_as_well(logits: tuple[float, ...]) -> None:
    """Which shrinks each round's share by (n − 1)/n, n completions known by then."""
    estimate, truth, grows = expected_gradient(logits, 3, "mean")
    np.testing.assert_allclose(estimate, (ROUND * 1 / 2 + grows * ROUND * 3 / 4) * truth, atol=1e-12)


@pytest.mark.parametrize("logits", POLICIES[1:])
def test_comparing_with_the_whole_grown_group_would_turn_it(logits: tuple[float, ...]) -> None:
    """So that the test above has something to find."""
    estimate, truth, _ = expected_gradient(logits, 3, "leave_one_out", pool=True)
    cosine = float(estimate @ truth / np.linalg.norm(estimate) / np.linalg.norm(truth))
    assert math.sqrt(1 - cosine**2) > 5e-3
