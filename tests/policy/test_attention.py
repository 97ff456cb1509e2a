"""The update's attention is softmax(Q Kᵀ) V, value and gradient, whichever way it goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from grpo_tui.policy import attention
from grpo_tui.policy.attention import update_attention

LAYER = torch.nn.Identity()


def inputs(length: int, seen: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(heads: int, count: int) -> Tensor:
        values = torch.randn(2, heads, count, 8, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return draw(6, length), draw(2, seen), draw(2, seen)


def plain(q: Tensor, k: Tensor, v: Tensor, looks: Tensor, scale: float) -> Tensor:
    k, v = k.repeat_interleave(3, dim=1), v.repeat_interleave(3, dim=1)
    scores = (q @ k.transpose(2, 3) * scale).masked_fill(~looks, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("short", [attention.SHORT, 0], ids=["held", "fused"])
@pytest.mark.parametrize("masked", [True, False])
def test_value_and_gradient(short: int, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: heads of keys repeated instead of interleaved; the mask of the first row for all; no scaling."""
    monkeypatch.setattr(attention, "SHORT", short)
    length, seen = 5, 9 if masked else 5
    looks = torch.ones(length, seen, dtype=torch.bool).tril(seen - length).expand(2, 1, length, seen).clone()
    if masked:
        looks[1, :, :, :2] = False
    mine, theirs = inputs(length, seen), inputs(length, seen)
    found, _ = update_attention(LAYER, *mine, looks if masked else None, scaling=0.3)
    expected = plain(*theirs, looks, 0.3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view(found.shape)
    (found * weights).sum().backward()  # type: ignore[no-untyped-call]
    (expected * weights).sum().backward()  # type: ignore[no-untyped-call]
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("short", [attention.SHORT, 0], ids=["held", "fused"])
def test_without_a_mask_the_queries_are_the_last_positions(
    short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: the fused kernel's own causal mask, which lines queries up with the first keys."""
    monkeypatch.setattr(attention, "SHORT", short)
    q, k, v = inputs(3, 7)
    found, _ = update_attention(LAYER, q, k, v, None, scaling=0.3)
    looks = torch.ones(3, 7, dtype=torch.bool).tril(4)
    torch.testing.assert_close(found, plain(q, k, v, looks, 0.3), rtol=0, atol=1e-12)


def test_a_position_that_sees_nothing_is_finite() -> None:
    q, k, v = inputs(3, 3)
    looks = torch.ones(2, 1, 3, 3, dtype=torch.bool).tril()
    looks[0, :, 0] = False
    found, _ = update_attention(LAYER, q, k, v, looks)
    assert found.isfinite().all()


@pytest.mark.parametrize("extra", [{"softcap": 2.0}, {"sliding_window": 4}, {"dropout": 0.1}])
def test_other_kinds_are_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="attention with"):
        update_attention(LAYER, *inputs(3, 3), None, **extra)
