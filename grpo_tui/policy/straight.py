"""Every layer of a Llama-like model over packed positions, forward and backward by hand.

transformers' modules make some fifty tensors for one layer, and autograd keeps half of them until the way back. On a CPU the
update then waits for memory more than for products. Here a layer keeps its two inputs, its queries, keys and values, the
attention's result, and gate and up; the rest is worked out again on the way back, where it is in the cache. Layers that read
one input go as one product, prompts and completions as one list of positions, and a LoRA branch adds into the product it
belongs to. The derivatives are those of the textbook; a test holds them against autograd's through the model's own modules.

The families below share one layer. Any other model, or one whose parts are not those expected, goes through its modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, silu
from torch.utils import checkpoint as recomputing

from grpo_tui.policy.lean import LeanLora, LeanNorm
from grpo_tui.policy.norm import RmsNorm
from grpo_tui.policy.packed_attention import Attending, attend, attending
from grpo_tui.policy.packing import Packed
from grpo_tui.policy.room import Lease, Room
from grpo_tui.policy.shared import can_share

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""RMSNorm, rotary positions over whole heads, gated SiLU; norms of queries and keys in ``qwen3``."""
FIXED_ROTARIES = frozenset({"default", "linear", "llama3", "yarn"})
"""Rotary positions that do not depend on how long the longest row is."""


class _Norm(RmsNorm):
    """And the way back through it."""

    def inverse(self, x: Tensor) -> Tensor:
        """1 / rms(x), float32 or better, with a last dimension of 1."""
        raised = x.to(torch.promote_types(x.dtype, torch.float32))
        squares: Tensor = torch.linalg.vecdot(raised, raised)
        return squares.div_(x.shape[-1]).add_(self.eps).rsqrt_()[..., None]

    def backward(self, grad: Tensor, x: Tensor, inverse: Tensor) -> Tensor:
        """With r = 1 / rms(x): ∂ = r (g w − x r² Σ(g w x) / D)."""
        raised, weighted = x.to(inverse.dtype), grad.to(inverse.dtype) * self.weight
        along = torch.linalg.vecdot(weighted, raised)[..., None].mul_(inverse.square()).div_(x.shape[-1])
        return weighted.addcmul_(raised, along, value=-1.0).mul_(inverse).to(x.dtype)

    def transposed_product(self, y_N_R: Tensor, x_N_D: Tensor, inverse_N_1: Tensor) -> Tensor:
        """``yᵀ · norm(x)``, ``R_D``, without working norm(x) out again."""
        return ((y_N_R * inverse_N_1).to(x_N_D.dtype).t() @ x_N_D).mul_(self.weight)


@dataclass(frozen=True, slots=True)
class _Adapter:
    """A LoRA branch of one of the joined layers."""

    a_R_I: Tensor
    b_O_R: Tensor
    scale: float
    ranks: slice
    outputs: slice


class _Product:
    """Linear layers that read one input, side by side, with their adapters: ``y = W x + b + s B (A x)``."""

    def __init__(self, layers: Sequence[Any]) -> None:
        odd = {type(layer).__name__ for layer in layers if type(layer) not in (nn.Linear, LeanLora)}
        if odd:
            raise ValueError(f"a {', '.join(sorted(odd))} among its layers")
        self.weight_O_I = _side_by_side([layer.weight for layer in layers])
        biases = [layer.bias for layer in layers]
        self.bias_O: Tensor | None = None
        if any(bias is not None for bias in biases):
            self.bias_O = torch.cat(
                [
                    layer.weight.new_zeros(layer.weight.shape[0]) if bias is None else bias.detach()
                    for layer, bias in zip(layers, biases, strict=True)
                ]
            )
        self.adapters: list[_Adapter] = []
        rank = output = 0
        for layer in layers:
            width = layer.weight.shape[0]
            if isinstance(layer, LeanLora):
                ranks = slice(rank, rank + layer.a_R_I.shape[0])
                outputs = slice(output, output + width)
                self.adapters.append(_Adapter(layer.a_R_I, layer.b_O_R, layer.scale, ranks, outputs))
                rank = ranks.stop
            output += width
        self._rank = rank
        self.parameters = [p for adapter in self.adapters for p in (adapter.a_R_I, adapter.b_O_R)]

    def branch(self) -> tuple[Tensor, Tensor] | None:
        """All A below each other ``R_I``, and all B, scaled, each from its own ranks to its own outputs, ``R_O``."""
        if not self.adapters:
            return None
        whole = self.weight_O_I
        if len(self.adapters) == 1 and self.adapters[0].b_O_R.shape[0] == whole.shape[0]:
            only = self.adapters[0]
            return only.a_R_I.to(whole.dtype), (only.b_O_R * only.scale).to(whole.dtype).t()
        a_R_I = torch.cat([adapter.a_R_I for adapter in self.adapters]).to(whole.dtype)
        b_R_O = whole.new_zeros(self._rank, whole.shape[0])
        for adapter in self.adapters:
            b_R_O[adapter.ranks, adapter.outputs] = (adapter.b_O_R * adapter.scale).t()
        return a_R_I, b_R_O

    def __call__(
        self,
        x_N_I: Tensor,
        branch: tuple[Tensor, Tensor] | None,
        added_N_O: Tensor | None = None,
        *,
        lease: Lease | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The product ``N_O``, with something added to it, and the branch's inside ``N_R``."""
        y_N_O, low_N_R = self._plain(x_N_I, lease), None
        if branch is not None:
            a_R_I, b_R_O = branch
            low_N_R = x_N_I @ a_R_I.t()
            # Not into a product with the residual: beside a number so much larger, a young adapter's part would vanish in
            # bf16's rounding. Nor is that done without the adapter, for then the reference would round otherwise.
            y_N_O.addmm_(low_N_R, b_R_O)
        return y_N_O if added_N_O is None else y_N_O.add_(added_N_O), low_N_R

    def _plain(self, x_N_I: Tensor, lease: Lease | None) -> Tensor:
        """``W x + b``."""
        if lease is None:
            return linear(x_N_I, self.weight_O_I, self.bias_O)
        y_N_O = lease.take((len(x_N_I), len(self.weight_O_I)), x_N_I)
        weight_I_O = self.weight_O_I.t()
        if self.bias_O is None:
            return torch.mm(x_N_I, weight_I_O, out=y_N_O)
        return torch.addmm(self.bias_O, x_N_I, weight_I_O, out=y_N_O)

    def backward(
        self,
        parts: Sequence[Tensor],
        low_N_R: Tensor | None,
        branch: tuple[Tensor, Tensor] | None,
        with_input: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        """Gradients of the input, and of :attr:`parameters`.

        Args:
            parts: the result's gradient in pieces side by side, none of which cuts a layer in two. In one piece it would
                be the largest tensor of all, in memory that the system takes back and gives anew for each layer.
            low_N_R: what the call gave.
            branch: as in the call.
            with_input: ``y_N_R`` ↦ ``yᵀ x``, with x what went in.
        """
        grad_x_N_I: Tensor | None = None
        grad_low_N_R: Tensor | None = None
        grads_b: list[Tensor] = []
        start = 0
        for grad_N_W in parts:
            columns = slice(start, start + grad_N_W.shape[1])
            start = columns.stop
            weight_W_I = self.weight_O_I[columns]
            grad_x_N_I = (
                grad_N_W @ weight_W_I if grad_x_N_I is None else grad_x_N_I.addmm_(grad_N_W, weight_W_I)
            )
            if branch is None or low_N_R is None:
                continue
            back_W_R = branch[1][:, columns].t()
            grad_low_N_R = (
                grad_N_W @ back_W_R if grad_low_N_R is None else grad_low_N_R.addmm_(grad_N_W, back_W_R)
            )
            for adapter in self._adapters_in(columns):
                own = grad_N_W[
                    :, adapter.outputs.start - columns.start : adapter.outputs.stop - columns.start
                ]
                grad_b_O_R = own.t() @ low_N_R[:, adapter.ranks]
                grads_b.append(grad_b_O_R.to(adapter.b_O_R.dtype) * adapter.scale)
        assert grad_x_N_I is not None
        if branch is None or grad_low_N_R is None:
            return grad_x_N_I, []
        grad_a_R_I = with_input(grad_low_N_R)
        grads_a = [grad_a_R_I[adapter.ranks].to(adapter.a_R_I.dtype) for adapter in self.adapters]
        return grad_x_N_I.addmm_(grad_low_N_R, branch[0]), [
            grad for pair in zip(grads_a, grads_b, strict=True) for grad in pair
        ]

    def _adapters_in(self, columns: slice) -> list[_Adapter]:
        return [
            adapter
            for adapter in self.adapters
            if columns.start <= adapter.outputs.start and adapter.outputs.stop <= columns.stop
        ]


def _side_by_side(weights: Sequence[Tensor]) -> Tensor:
    """The matrices below each other in one piece of memory, which they share from then on."""
    if len(weights) == 1:
        return weights[0].detach()
    whole = torch.cat([weight.detach() for weight in weights])
    row = 0
    for weight in weights:
        weight.data = whole[row : row + weight.shape[0]]
        row += weight.shape[0]
    return whole


@dataclass(frozen=True, slots=True)
class Rotary:
    """cos and sin of every position, ``N_1_D``, the sine's first half with the minus of rotating by halves."""

    cos_N_1_D: Tensor
    sin_N_1_D: Tensor

    @classmethod
    def of(cls, cos_N_1_D: Tensor, sin_N_1_D: Tensor) -> Rotary:
        """From what a model's rotary module gives."""
        half = cos_N_1_D.shape[-1] // 2
        return cls(cos_N_1_D, torch.cat((-sin_N_1_D[..., :half], sin_N_1_D[..., half:]), dim=-1))

    def turn(self, heads_N_H_D: Tensor) -> Tensor:
        """Rotate."""
        return torch.addcmul(heads_N_H_D * self.cos_N_1_D, _swapped(heads_N_H_D), self.sin_N_1_D)

    def back(self, heads_N_H_D: Tensor) -> Tensor:
        """Rotate the other way, which is what a gradient does."""
        return torch.addcmul(heads_N_H_D * self.cos_N_1_D, _swapped(heads_N_H_D), self.sin_N_1_D, value=-1.0)


def _swapped(heads: Tensor) -> Tensor:
    half = heads.shape[-1] // 2
    return torch.cat((heads[..., half:], heads[..., :half]), dim=-1)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's products and norms."""

    before_attention: _Norm
    qkv: _Product
    query_norm: _Norm | None
    key_norm: _Norm | None
    out: _Product
    before_mlp: _Norm
    gate_up: _Product
    down: _Product
    scaling: float
    heads: int
    shared: int
    """Heads of keys and values."""

    def split(self, qkv_N_O: Tensor) -> tuple[Tensor, Tensor]:
        """Heads of queries and keys, and those of values."""
        heads = qkv_N_O.view(len(qkv_N_O), self.heads + 2 * self.shared, -1)
        return heads[:, : self.heads + self.shared], heads[:, self.heads + self.shared :]


class _Before(torch.autograd.Function):
    """Norm, queries, keys and values, rotated: ``x_N_D`` → ``turned_N_HK_D``, ``values_N_K_D``."""

    @staticmethod
    def forward(
        ctx: Any,
        x_N_D: Tensor,
        layer: _Layer,
        rotary: Rotary,
        on: bool,
        lease: Lease | None,
        *_parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        branch = layer.qkv.branch() if on else None
        # Kept for the way back only where heads have norms.
        of_qkv = lease if layer.query_norm is not None else None
        qkv_N_O, low_N_R = layer.qkv(layer.before_attention(x_N_D), branch, lease=of_qkv)
        turning, values = layer.split(qkv_N_O)
        raw = None
        if layer.query_norm is not None and layer.key_norm is not None:
            raw = turning
            parts = (layer.query_norm(raw[:, : layer.heads]), layer.key_norm(raw[:, layer.heads :]))
            turning = torch.cat(parts, dim=1)
        ctx.save_for_backward(x_N_D, low_N_R, raw, *(branch or ()))
        ctx.layer, ctx.rotary, ctx.lease = layer, rotary, lease
        return rotary.turn(turning), values.contiguous()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,misc,unused-ignore]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        layer, rotary = ctx.layer, ctx.rotary
        x_N_D, low_N_R, raw, *branch = ctx.saved_tensors
        grad_turning = rotary.back(grads[0])
        if raw is not None:
            grad_turning = torch.cat(
                (
                    _back(layer.query_norm, grad_turning[:, : layer.heads], raw[:, : layer.heads]),
                    _back(layer.key_norm, grad_turning[:, layer.heads :], raw[:, layer.heads :]),
                ),
                dim=1,
            )
        parts = (grad_turning.flatten(1), grads[1].flatten(1))
        norm, inverse = layer.before_attention, layer.before_attention.inverse(x_N_D)
        grad_normed, found = layer.qkv.backward(
            parts, low_N_R, tuple(branch) or None, lambda y: norm.transposed_product(y, x_N_D, inverse)
        )
        grad_x = norm.backward(grad_normed, x_N_D, inverse) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, None, None, *found


class _After(torch.autograd.Function):
    """Output projection and gated MLP, with their residuals: ``attended_N_HD``, ``x_N_D`` → ``x_N_D``."""

    @staticmethod
    def forward(
        ctx: Any,
        attended_N_E: Tensor,
        x_N_D: Tensor,
        layer: _Layer,
        on: bool,
        lease: Lease | None,
        *_parameters: Tensor,
    ) -> Tensor:
        branches = [p.branch() if on else None for p in (layer.out, layer.gate_up, layer.down)]
        middle_N_D, low_out = layer.out(attended_N_E, branches[0], x_N_D, lease=lease)
        both_N_2F, low_both = layer.gate_up(layer.before_mlp(middle_N_D), branches[1], lease=lease)
        gate, up = both_N_2F.chunk(2, dim=-1)
        result_N_D, low_down = layer.down(silu(gate).mul_(up), branches[2], middle_N_D, lease=lease)
        kept = [t for branch in branches for t in (branch or (None, None))]
        ctx.save_for_backward(attended_N_E, middle_N_D, both_N_2F, low_out, low_both, low_down, *kept)
        ctx.layer, ctx.lease = layer, lease
        return result_N_D

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,misc,unused-ignore]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        layer, (grad_N_D,) = ctx.layer, grads
        attended, middle, both, low_out, low_both, low_down, *kept = ctx.saved_tensors
        of_out, of_both, of_down = (
            None if kept[i] is None else (kept[i], kept[i + 1]) for i in range(0, len(kept), 2)
        )
        gate, up = both.chunk(2, dim=-1)
        gated = silu(gate)
        grad_hidden, found_down = layer.down.backward(
            (grad_N_D,), low_down, of_down, lambda y: y.t() @ (gated * up)
        )
        grad_up = gated.mul_(grad_hidden)
        grad_gate = torch.ops.aten.silu_backward(grad_hidden.mul_(up), gate)
        norm, inverse = layer.before_mlp, layer.before_mlp.inverse(middle)
        grad_normed, found_both = layer.gate_up.backward(
            (grad_gate, grad_up), low_both, of_both, lambda y: norm.transposed_product(y, middle, inverse)
        )
        grad_middle = norm.backward(grad_normed, middle, inverse).add_(grad_N_D)
        grad_attended, found_out = layer.out.backward(
            (grad_middle,), low_out, of_out, lambda y: y.t() @ attended
        )
        return grad_attended, grad_middle, None, None, None, *found_out, *found_both, *found_down


class _Last(torch.autograd.Function):
    """The norm under the head."""

    @staticmethod
    def forward(ctx: Any, x_N_D: Tensor, norm: _Norm) -> Tensor:
        ctx.save_for_backward(x_N_D)
        ctx.norm = norm
        return norm(x_N_D)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,misc,unused-ignore]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (x_N_D,) = ctx.saved_tensors
        return _back(ctx.norm, grads[0], x_N_D), None


def _back(norm: _Norm, grad: Tensor, x: Tensor) -> Tensor:
    return norm.backward(grad, x, norm.inverse(x))


class StraightStates:
    """Last hidden states of packed positions, through a lean twin's parts."""

    def __init__(self, model: Any) -> None:
        """Find the parts.

        Args:
            model: a lean twin's model, its adapted layers in place.

        Raises:
            ValueError: the model is not of the kind that this computes.
        """
        config = model.config
        if config.model_type not in FAMILIES:
            raise ValueError(f"{config.model_type} goes through its own modules")
        if getattr(config, "hidden_act", "silu") != "silu":
            raise ValueError(f"an activation {config.hidden_act}")
        if not can_share(config):
            raise ValueError("attention through a window")
        body = model.model
        if getattr(body.rotary_emb, "rope_type", "default") not in FIXED_ROTARIES:
            raise ValueError(f"rotary positions of type {body.rotary_emb.rope_type}")
        self._embed: nn.Embedding = body.embed_tokens
        self._rotary: Any = body.rotary_emb
        self._layers = [_layer(config, layer) for layer in body.layers]
        size = self._layers[0].qkv.weight_O_I.shape[0] // (self._layers[0].heads + 2 * self._layers[0].shared)
        if 2 * body.rotary_emb.inv_freq.numel() != size:
            raise ValueError("rotary positions over a part of each head")
        self._last = _norm(body.norm)
        on_cpu = self._embed.weight.device.type == "cpu" and sys.platform == "linux"
        self._room = Room() if on_cpu else None

    def __call__(self, packed: Packed, *, adapter: bool, recomputes: bool = False) -> Tensor:
        """States under the head at every packed position, ``N_D``.

        Args:
            packed: prompts and completions.
            adapter: whether the adapter takes part.
            recomputes: keep each layer's input only, and compute its inside again on the way back.
        """
        x_N_D = self._embed(packed.ids_N)
        cos, sin = (t[0, :, None] for t in self._rotary(x_N_D, packed.positions_N[None]))
        rotary = Rotary.of(cos, sin)
        plan = attending(packed, x_N_D.dtype)
        recomputes = recomputes and torch.is_grad_enabled()
        keeps = torch.is_grad_enabled() and not recomputes
        lease = self._room.lend() if keeps and self._room is not None else None
        for layer in self._layers:
            if recomputes:
                # Nothing random is in a layer, so no generator need be set back, which others may be using.
                x_N_D = recomputing.checkpoint(
                    _through,
                    *(layer, x_N_D, rotary, plan, adapter, None),
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            else:
                x_N_D = _through(layer, x_N_D, rotary, plan, adapter, lease)
        last: Any = _Last.apply
        states_N_D: Tensor = last(x_N_D, self._last)
        return states_N_D


def _through(
    layer: _Layer, x_N_D: Tensor, rotary: Rotary, plan: Attending, adapter: bool, lease: Lease | None
) -> Tensor:
    """One layer."""
    before: Any = _Before.apply
    after: Any = _After.apply
    rest = [*layer.out.parameters, *layer.gate_up.parameters, *layer.down.parameters] if adapter else []
    turned, values = before(x_N_D, layer, rotary, adapter, lease, *(layer.qkv.parameters if adapter else ()))
    attended = attend(turned, values, plan, layer.heads, layer.scaling, lease)
    result: Tensor = after(attended, x_N_D, layer, adapter, lease, *rest)
    return result


def _layer(config: Any, layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    norms = (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None))
    if (norms[0] is None) != (norms[1] is None):
        raise ValueError("a norm of queries or keys alone")
    return _Layer(
        before_attention=_norm(layer.input_layernorm),
        qkv=_Product((attention.q_proj, attention.k_proj, attention.v_proj)),
        query_norm=None if norms[0] is None else _norm(norms[0]),
        key_norm=None if norms[1] is None else _norm(norms[1]),
        out=_Product((attention.o_proj,)),
        before_mlp=_norm(layer.post_attention_layernorm),
        gate_up=_Product((mlp.gate_proj, mlp.up_proj)),
        down=_Product((mlp.down_proj,)),
        scaling=float(attention.scaling),
        heads=int(config.num_attention_heads),
        shared=int(config.num_key_value_heads),
    )


def _norm(module: Any) -> _Norm:
    if type(module) is not LeanNorm:
        raise ValueError(f"a {type(module).__name__}")
    return _Norm(module.weight, module.eps)
