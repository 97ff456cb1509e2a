"""Gradient checkpointing: the same numbers from less that is kept, on the lean path and on PEFT's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpo_tui.policy.checkpointing import checkpointed
from grpo_tui.policy.errors import PolicyError
from grpo_tui.policy.loading import make_lean
from grpo_tui.policy.policy import Policy, TokenBatch
from tests.policy.models import ARCHITECTURES, PEFT_NOISE, tiny_policy
from tests.policy.test_lean import numbers, shared_batch

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)


def kept_bytes(policy: Policy, made: TokenBatch) -> int:
    """What a forward pass keeps for the backward pass, the weights among it."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logprobs, _ = policy.logprobs(made, 1.0)
    weights = {tensor.untyped_storage().data_ptr() for tensor in policy.model.parameters()}
    assert logprobs.requires_grad
    return sum(size for place, size in kept.items() if place not in weights)


def long_batch(policy: Policy, *, shared: bool) -> TokenBatch:
    """Three rows over two prompts, with completions that outweigh them."""
    made = policy.sample_batch()
    ids = torch.randint(61, (3, 90), generator=torch.Generator().manual_seed(3))
    return replace(
        made,
        completion_ids_B_T=ids,
        completion_mask_B_T=torch.ones_like(ids, dtype=torch.bool),
        shared=made.shared if shared else None,
    )


def assert_same(policy: Policy, made: TokenBatch) -> None:
    torch.manual_seed(7)
    plain = numbers(policy, made)
    torch.manual_seed(7)
    with checkpointed(policy):
        found = numbers(policy, made)
    torch.testing.assert_close(found[0], plain[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], plain[1], rtol=0, atol=1e-6)
    for name, gradient in found[2].items():
        assert (gradient - plain[2][name]).norm() <= 1e-6 * plain[2][name].norm(), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pefts_layers_give_the_same_gradients_and_keep_less(architecture: str) -> None:
    """Seen to fail with: nothing wrapped."""
    policy = tiny_policy(architecture)
    made = long_batch(policy, shared=False)
    assert_same(policy, made)
    before = kept_bytes(policy, made)
    with checkpointed(policy):
        assert kept_bytes(policy, made) < 0.5 * before


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral_window", "phi3"])
def test_the_lean_twin_gives_the_same_gradients_and_keeps_less(architecture: str, shared: bool) -> None:
    """Seen to fail with: a pass that fills a prompt's cache run twice."""
    policy = tiny_policy(architecture)
    make_lean(policy, "auto")
    assert policy.lean is not None
    made = long_batch(policy, shared=shared)
    assert_same(policy, made)
    before = kept_bytes(policy, made)
    with checkpointed(policy):
        assert kept_bytes(policy, made) < 0.6 * before


def test_padded_and_shared_rows_too() -> None:
    policy = tiny_policy()
    make_lean(policy, "lean")
    assert_same(policy, shared_batch())


def test_dropout_is_drawn_the_same_again() -> None:
    policy = tiny_policy(dropout=0.3)
    with policy.training_mode():
        assert_same(policy, long_batch(policy, shared=False))


def test_everything_is_as_before_afterwards() -> None:
    policy = tiny_policy()
    make_lean(policy, "lean")
    made = long_batch(policy, shared=True)
    before = kept_bytes(policy, made)
    with pytest.raises(RuntimeError), checkpointed(policy):
        raise RuntimeError
    assert kept_bytes(policy, made) == before
    with checkpointed(policy, on=False):
        assert kept_bytes(policy, made) == before


def test_a_model_without_layers_is_refused_in_words() -> None:
    policy = tiny_policy()
    policy.model = torch.nn.Linear(2, 2)
    with (
        pytest.raises(PolicyError, match=r"optim\.gradient_checkpointing: this model has no layers"),
        checkpointed(policy),
    ):
        pass
