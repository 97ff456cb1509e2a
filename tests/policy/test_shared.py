"""Completions packed behind each other give each its own states, and no more rows than they need."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grpo_tui.policy.loading import make_lean
from grpo_tui.policy.packing import SharedPrompts, pack
from grpo_tui.policy.policy import TokenBatch
from tests.policy.models import PEFT_NOISE, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)


def test_short_ones_share_a_row_of_the_longest() -> None:
    packing = pack([9, 4, 5, 2, 1], [0, 0, 0, 0, 0])
    assert packing.width == 8
    assert packing.rows == ((0,), (2, 1, 3))
    assert packing.num_positions == 16


def test_prompts_do_not_mix() -> None:
    assert pack([3, 3, 5], [0, 1, 0]).rows == ((2,), (0,), (1,))


def test_single_tokens_need_no_row() -> None:
    assert pack([1, 1], [0, 0]).rows == ()


@pytest.mark.parametrize("seed", range(20))
def test_every_completion_stands_once_and_fits(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 40, size=30).tolist()
    prompts = generator.integers(0, 4, size=30).tolist()
    packing = pack(lengths, prompts)
    placed = [b for row in packing.rows for b in row]
    assert sorted(placed) == [b for b in range(30) if lengths[b] > 1]
    for row in packing.rows:
        assert sum(lengths[b] - 1 for b in row) <= packing.width == max(lengths) - 1
        assert len({prompts[b] for b in row}) == 1
    unpacked = sum(1 for length in lengths if length > 1)
    assert len(packing.rows) < unpacked


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt_neox"])
def test_packed_rows_give_what_single_ones_give(architecture: str) -> None:
    """Log-probs and gradients. Seen to fail with: neighbours seen; positions that go on; the wrong row's prompt."""
    policy = tiny_policy(architecture)
    make_lean(policy, "auto")
    assert policy.packs_rows
    generator = torch.Generator().manual_seed(0)
    lengths, prompt_of = [6, 2, 3, 1, 6, 2], [0, 1, 1, 0, 1, 0]
    prompts = torch.randint(2, 40, (2, 5), generator=generator)
    prompt_mask = torch.ones_like(prompts, dtype=torch.bool)
    prompt_mask[1, :2] = False
    ids = torch.randint(2, 40, (6, 6), generator=generator)
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    which = torch.tensor(prompt_of)
    alone = TokenBatch(
        prompt_ids_B_P=prompts[which],
        prompt_mask_B_P=prompt_mask[which],
        completion_ids_B_T=ids,
        completion_mask_B_T=mask,
        shared=None,
    )
    together = TokenBatch(
        prompt_ids_B_P=prompts[which],
        prompt_mask_B_P=prompt_mask[which],
        completion_ids_B_T=ids,
        completion_mask_B_T=mask,
        shared=SharedPrompts(ids_Q_P=prompts, mask_Q_P=prompt_mask, prompt_of_B=which),
    )
    found = []
    for batch in (alone, together):
        logprobs, _ = policy.logprobs(batch, 1.0)
        weights = torch.linspace(-1, 1, logprobs.numel()).view(logprobs.shape)
        (logprobs * weights * mask).sum().backward()  # type: ignore[no-untyped-call]
        gradients = {
            n: p.grad.clone() for n, p in policy.trainable_parameters().items() if p.grad is not None
        }
        for parameter in policy.trainable_parameters().values():
            parameter.grad = None
        found.append((logprobs.detach()[mask], gradients))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0, atol=3e-5)
    for name, gradient in found[1][1].items():
        assert (gradient - found[0][1][name]).norm() < 5e-5 * found[0][1][name].norm()


@pytest.mark.parametrize("straight", [True, False])
def test_gradients_are_the_same_bits_on_several_threads(straight: bool) -> None:
    """What completions send back to their prompt is added up in a fixed order.

    Seen to fail with: states picked by indexing, whose backward adds from all threads at once.
    """
    policy = tiny_policy("llama")
    make_lean(policy, "auto")
    assert policy.lean is not None
    assert policy.lean.straight is not None
    if not straight:
        policy.lean.straight = None
    generator = torch.Generator().manual_seed(0)
    group, length = 64, 24
    prompts = torch.randint(2, 40, (2, 5), generator=generator)
    which = torch.arange(group) % 2
    mask = torch.ones(group, length, dtype=torch.bool)
    made = SharedPrompts(
        ids_Q_P=prompts, mask_Q_P=torch.ones_like(prompts, dtype=torch.bool), prompt_of_B=which
    )
    ids = torch.randint(2, 40, (group, length), generator=generator)
    batch = TokenBatch(
        prompt_ids_B_P=prompts[which],
        prompt_mask_B_P=made.mask_Q_P[which],
        completion_ids_B_T=ids,
        completion_mask_B_T=mask,
        shared=made,
    )
    sent = torch.linspace(-1.0, 1.0, ids.numel()).view(ids.shape)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        seen = []
        for _ in range(12):
            logprobs, _ = policy.logprobs(batch, 1.0)
            (logprobs * sent).sum().backward()  # type: ignore[no-untyped-call]
            seen.append(
                [p.grad.clone() for p in policy.trainable_parameters().values() if p.grad is not None]
            )
            for parameter in policy.trainable_parameters().values():
                parameter.grad = None
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for later in seen[1:] for a, b in zip(later, seen[0], strict=True))
