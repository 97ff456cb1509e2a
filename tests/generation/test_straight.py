"""Decoding straight through the layers gives what the modules give."""

from __future__ import annotations

import pytest
import torch

from grpo_tui.generation import attention
from grpo_tui.generation.fast import FastSampler, _through_modules
from grpo_tui.generation.folded import Twin
from grpo_tui.generation.prompts import new_cache, prefill
from grpo_tui.generation.straight import Straight
from grpo_tui.policy.straight import FAMILIES
from tests.policy.models import PEFT_NOISE, batch_of, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", [*sorted(FAMILIES), "llama_biased"])
def test_logits_are_those_of_the_modules(family: str, padded: bool, batched: bool) -> None:
    """Seen to fail with: the sine's sign; k and v swapped; norms of q and k left out; the mask left out of either way of
    attending; no scaling of either; gate and up swapped."""
    policy = tiny_policy(family)
    twin = Twin(policy, attention.NAME)
    for layer in twin.model.model.layers:
        layer.self_attn.scaling = 0.5  # not 1/√D, which attention takes where nobody tells it
    straight = Straight(twin)
    straight.turns_keys = batched  # the way of attending that goes with it
    ids = torch.tensor([[5, 6, 7, 8], [9, 3, 2, 4], [3, 11, 12, 13]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    if padded:
        mask[1, :2] = False
        mask[2, :1] = False
    with torch.no_grad(), twin.awake(3) as model:
        caches = [new_cache(model, 10) for _ in range(2)]
        for cache in caches:
            prefill(model, ids, mask, cache)
        for step in range(4):
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            looks = mask[:, None, None] if padded else None
            tokens, places = torch.tensor([5 + step, 9, 30]), mask.sum(1) - 1
            expected = _through_modules(model, tokens, places, looks, caches[0])
            found = straight(tokens, places, looks, caches[1])
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
        for mine, theirs in zip(caches[1].layers, caches[0].layers, strict=True):
            torch.testing.assert_close(mine.keys[:, :, :8], theirs.keys[:, :, :8], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(mine.values[:, :, :8], theirs.values[:, :, :8], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_families_are_decoded_straight(family: str) -> None:
    assert isinstance(FastSampler(tiny_policy(family))._decode, Straight)


@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("k_proj", "down_proj"), ("up_proj",)])
@pytest.mark.parametrize("family", ["llama_biased", "qwen3"])
def test_some_layers_may_have_no_adapter(
    family: str, targets: tuple[str, ...], folds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is PEFT's own default. Seen to fail with: only adapted layers joined; B in the place of a layer that has none."""
    if not folds:
        monkeypatch.setattr("grpo_tui.generation.folded.FOLDED_PARAMETERS", 0)
    policy = tiny_policy(family, targets=targets)
    sampler = FastSampler(policy)
    assert isinstance(sampler._decode, Straight)
    tokens = batch_of([[5, 6, 7], [9]], [[3, 4, 8, 2], [11, 12, 6, 6]])
    with torch.no_grad():
        expected = policy.logits(tokens)
    torch.testing.assert_close(sampler.logits(tokens), expected, atol=1e-4, rtol=1e-4)
    assert not any(
        joined._matrices for joined in sampler._twin.joined.values() if joined.names != ("lm_head",)
    )


@pytest.mark.parametrize("family", ["gpt2", "opt", "gpt_neox", "phi3"])
def test_others_are_decoded_by_their_modules(family: str) -> None:
    assert not isinstance(FastSampler(tiny_policy(family))._decode, Straight)


def test_other_activations_are_refused() -> None:
    policy = tiny_policy("llama")
    twin = Twin(policy, attention.NAME)
    twin.model.config.hidden_act = "gelu"
    with pytest.raises(ValueError, match="gelu"):
        Straight(twin)


@pytest.mark.parametrize(
    ("name", "value", "says"), [("sliding_window", 6, "window"), ("k_norm", None, "alone")]
)
def test_other_kinds_of_attention_are_refused(name: str, value: int | None, says: str) -> None:
    """Seen to fail with: a window taken for no window."""
    twin = Twin(tiny_policy("qwen3"), attention.NAME)
    setattr(twin.model.model.layers[1].self_attn, name, value)
    with pytest.raises(ValueError, match=says):
        Straight(twin)
