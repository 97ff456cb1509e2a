"""Joined products equal the layers that they stand for."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grpo_tui.generation import attention
from grpo_tui.generation.folded import Twin
from grpo_tui.generation.products import Joined, Matrix, can_pack
from tests.policy.models import PEFT_NOISE, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

PACKS = [False, pytest.param(True, marks=pytest.mark.skipif(not can_pack(torch.float32), reason="no oneDNN"))]


class Adapted:
    """What a Joined reads of PEFT's layer."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        self.base_layer = base
        self.lora_A = {"default": nn.Linear(base.in_features, rank, bias=False)}
        self.lora_B = {"default": nn.Linear(rank, base.out_features, bias=False)}
        self.scaling = {"default": scale}
        self.lora_A["default"].to(base.weight.dtype)
        self.lora_B["default"].to(base.weight.dtype)

    def get_delta_weight(self, name: str) -> Tensor:
        return self.lora_B[name].weight @ self.lora_A[name].weight * self.scaling[name]

    def __call__(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + x @ self.get_delta_weight("default").t()  # type: ignore[no-any-return]


def layers(dtype: torch.dtype = torch.float32) -> list[tuple[nn.Linear, Any]]:
    """Three of unlike widths and ranks; one has a bias, one no adapter."""
    torch.manual_seed(0)
    wide, plain, slim = nn.Linear(24, 40, bias=False), nn.Linear(24, 8), nn.Linear(24, 16, bias=False)
    pairs: list[tuple[nn.Linear, Any]] = [
        (wide, Adapted(wide, 4, 2.0)),
        (plain, None),
        (slim, Adapted(slim, 3, 0.5)),
    ]
    return [(layer.to(dtype), source) for layer, source in pairs]


@pytest.mark.parametrize("packs", PACKS)
@pytest.mark.parametrize("folds", [True, False])
def test_each_part_is_its_own_adapted_layer(folds: bool, packs: bool) -> None:
    """Seen to fail with: a block of B in the wrong rows; the scale left out; the bias left out; parts swapped."""
    pairs = layers()
    joined = Joined(["a", "b", "c"], pairs, folds=folds, packs=packs)
    x = torch.randn(5, 2, 24)
    with torch.no_grad():
        joined.refresh(10)
        found = [part(x) for part in joined.parts]
        for (plain, source), y in zip(pairs, found, strict=True):
            torch.testing.assert_close(y, source(x) if source is not None else plain(x), atol=1e-5, rtol=1e-5)
    joined.release()


def test_parts_asked_in_any_order_and_for_new_inputs() -> None:
    """Seen to fail with: parts kept for an input that was written over; a part given out twice."""
    pairs = layers()
    joined = Joined(["a", "b", "c"], pairs, folds=True, packs=False)
    first, second, third = joined.parts
    with torch.no_grad():
        joined.refresh(4)
        x, z = torch.randn(4, 24), torch.randn(4, 24)
        wide, slim = pairs[0][1], pairs[2][1]
        torch.testing.assert_close(third(x), slim(x))
        torch.testing.assert_close(first(z), wide(z))
        torch.testing.assert_close(third(z), slim(z))
        second(z)
        z.add_(1.0)  # the same tensor, other numbers
        torch.testing.assert_close(first(z), wide(z))
        z.add_(1.0)
        torch.testing.assert_close(first(z), wide(z))


def test_refresh_takes_over_what_the_adapter_has_become() -> None:
    pairs = layers()
    joined = Joined(["a", "b", "c"], pairs, folds=False, packs=False)
    x = torch.randn(4, 24)
    with torch.no_grad():
        joined.refresh(4)
        before = joined.parts[0](x)
        pairs[0][1].lora_B["default"].weight.mul_(2.0)
        joined.refresh(4)
        after = joined.parts[0](x)
        torch.testing.assert_close(after, pairs[0][1](x))
    assert not torch.allclose(before, after)


def bare(dtype: torch.dtype = torch.float32) -> list[tuple[nn.Linear, Any]]:
    """A gate and an up, of one width; one has a bias."""
    torch.manual_seed(0)
    gate, up = nn.Linear(24, 40), nn.Linear(24, 40, bias=False)
    return [(gate.to(dtype), Adapted(gate, 4, 2.0)), (up.to(dtype), Adapted(up, 3, 0.5))]


@pytest.mark.parametrize("packs", PACKS)
@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_gated_is_silu_of_the_first_times_the_second(folds: bool, packs: bool, apart: bool) -> None:
    """Seen to fail with: gate and up swapped; the bias left out; the gate not opened; the other's B."""
    pairs = bare()
    joined = Joined(["gate", "up"], pairs, folds=folds, packs=packs)
    if apart:
        joined.part_ways()
    x = torch.randn(5, 24)
    with torch.no_grad():
        joined.refresh(5)
        gate, up = (source(x) for _, source in pairs)
        torch.testing.assert_close(joined.gated(x), nn.functional.silu(gate) * up, atol=1e-5, rtol=1e-4)
        for part, expected in zip(joined.parts, (gate, up), strict=True):
            torch.testing.assert_close(part(x), expected, atol=1e-5, rtol=1e-5)


def test_a_large_copy_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: kept whatever its size."""
    monkeypatch.setattr("grpo_tui.generation.products.KEPT_BYTES", 24 * 40 * 4 - 1)
    joined = Joined(["head"], [(nn.Linear(24, 40), None)], folds=False, packs=False, keeps=True)
    with torch.no_grad():
        joined.refresh(5)
    joined.release()
    assert not joined._matrices


@pytest.mark.parametrize("packs", PACKS)
def test_what_nothing_adapts_is_laid_out_once(packs: bool) -> None:
    """For so many rows. Seen to fail with: let go as the others are; laid out anew at each refresh, or never."""
    plain = nn.Linear(24, 40)
    joined = Joined(["head"], [(plain, None)], folds=False, packs=packs, keeps=True)
    x = torch.randn(5, 24)
    with torch.no_grad():
        joined.refresh(5)
        (first,) = joined._matrices
        joined.release()
        joined.refresh(5)
        assert joined._matrices == [first]
        joined.refresh(7)
        assert joined._matrices != [first]
        torch.testing.assert_close(joined.whole(x), plain(x), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="no bf16 in oneDNN")
@pytest.mark.parametrize("rows", [1, 16, 300])
def test_packed_in_bf16(rows: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(64, 48).bfloat16(), torch.randn(rows, 48).bfloat16()
    matrix = Matrix(weight, num_rows=16, packs=True)
    torch.testing.assert_close(matrix(x), x @ weight.t(), atol=0.1, rtol=0.02)


def test_layers_of_one_input_are_found_by_looking() -> None:
    """Seen to fail with: layers grouped by their parent alone."""
    twin = Twin(tiny_policy("llama"), attention.NAME)
    names = {joined.names for joined in twin.joined.values()}
    assert {("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)} <= names


def test_copies_live_only_while_awake() -> None:
    twin = Twin(tiny_policy("llama"), attention.NAME)
    joined = next(iter(twin.joined.values()))

    def holds() -> bool:
        return bool(joined._matrices)

    with twin.awake(4):
        assert holds()
    assert not holds()
    with pytest.raises(RuntimeError, match="boom"), twin.awake(4):
        raise RuntimeError("boom")
    assert not holds()


def test_a_pass_that_was_broken_off_leaves_nothing_behind() -> None:
    """Seen to fail with: products of the last input kept until the next sampling."""
    joined = Joined(["a", "b", "c"], layers(), folds=True, packs=False)
    with torch.no_grad():
        joined.refresh(4)
        x = torch.randn(4, 24)
        joined.parts[0](x)
    held = weakref.ref(x)
    joined.release()
    del x
    assert held() is None
    assert joined._parts == [None] * 3
