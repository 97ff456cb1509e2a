"""One decoded position straight through the layers of a Llama-like model, without the modules around them.

transformers takes some fifty small calls for one layer; decoding a handful of rows on a CPU spends more time between
products than in them. The families below share one layer, written here with a dozen calls. A model of any other family, or one
whose parts are not those expected, is decoded by its own modules; :meth:`FastSampler.deviation` measures either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from grpo_tui.generation.folded import Twin
from grpo_tui.generation.products import Joined
from grpo_tui.generation.slab import SlabCache
from grpo_tui.policy.attention import barred
from grpo_tui.policy.norm import RmsNorm
from grpo_tui.policy.straight import FAMILIES, Rotary


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's products and norms."""

    before_attention: RmsNorm
    qkv: Joined
    query_norm: RmsNorm | None
    key_norm: RmsNorm | None
    out: Joined
    before_mlp: RmsNorm
    gate_up: Joined
    down: Joined
    scaling: float


class LlamaParts:
    """What a position of a Llama-like model goes through."""

    def __init__(self, twin: Twin) -> None:
        """Find the parts.

        Raises:
            ValueError: the model is not of the kind that this module knows.
        """
        config = twin.model.config
        if config.model_type not in FAMILIES:
            raise ValueError(f"{config.model_type} is decoded by its own modules")
        if getattr(config, "hidden_act", "silu") != "silu":
            raise ValueError(f"an activation {config.hidden_act}")
        body = twin.model.model
        self._embed: nn.Embedding = body.embed_tokens
        self._rotary: Any = body.rotary_emb
        self._heads: int = config.num_attention_heads
        self._shared: int = config.num_key_value_heads
        self._layers = [_layer(twin, number, layer) for number, layer in enumerate(body.layers)]
        self._size = self._layers[0].qkv.layers[0].out_features // self._heads
        self._last = _norm(body.norm)
        self._head: Any = twin.model.get_output_embeddings() or twin.model.lm_head


class Straight(LlamaParts):
    """Decodes through a twin's joined products."""

    def __init__(self, twin: Twin) -> None:
        """Find the parts.

        Raises:
            ValueError: the model is not of the kind that this decodes.
        """
        super().__init__(twin)
        self.turns_keys = _turns_keys(self._embed.weight)
        """Whether it wants its cache's keys turned (:class:`~grpo_tui.generation.slab.SlabLayer`)."""

    def __call__(
        self, tokens_B: Tensor, positions_B: Tensor, looks: Tensor | None, cache: SlabCache
    ) -> Tensor:
        """Feed one token a row; logits of the next, ``B_V``.

        Args:
            tokens_B: tokens drawn last.
            positions_B: their positions.
            looks: boolean ``B_1_1_S``, True where a row may look, the new position included; None: everywhere.
            cache: what came before; the new position is added.
        """
        x = self._embed(tokens_B)
        rotary = Rotary.of(*self._rotary(x, positions_B.unsqueeze(1)))
        bar = looks
        if looks is not None and x.device.type == "cpu":
            bar = barred(looks, x.dtype)  # once, where torch's kernel would make it anew for each layer
            if self.turns_keys:
                bar = bar.expand(-1, self._shared, -1, -1).flatten(0, 1)
        for layer, slab in zip(self._layers, cache.layers, strict=True):
            normed = layer.before_attention(x)
            x = layer.out.whole(self._attend(layer, normed, rotary, bar, slab), x)
            x = layer.down.whole(layer.gate_up.gated(layer.before_mlp(x)), x)
        logits: Tensor = self._head(self._last(x))
        return logits

    def _attend(
        self,
        layer: Layer,
        x_B_D: Tensor,
        rotary: Rotary,
        bar: Tensor | None,
        slab: Any,
    ) -> Tensor:
        """One layer's attention, ``B_HD``; ``bar`` says where rows may look, as the way of attending wants it."""
        rows, turned = x_B_D.shape[0], self._heads + self._shared
        heads = layer.qkv.whole(x_B_D).view(rows, turned + self._shared, self._size)
        turning = heads[:, :turned]
        if layer.query_norm is not None and layer.key_norm is not None:
            turning = torch.cat(
                (layer.query_norm(turning[:, : self._heads]), layer.key_norm(turning[:, self._heads :])),
                dim=1,
            )
        turning = rotary.turn(turning)
        keys, values = slab.update(turning[:, self._heads :].unsqueeze(2), heads[:, turned:].unsqueeze(2))
        # H / K queries that share a head of keys, as if they were positions of it.
        query = turning[:, : self._heads].view(rows, self._shared, -1, self._size)
        if self.turns_keys:
            return _attended(query, keys, values, bar, layer.scaling).view(rows, -1)
        found = scaled_dot_product_attention(query, keys, values, attn_mask=bar, scale=layer.scaling)
        return found.reshape(rows, -1)


def _turns_keys(weight: Tensor) -> bool:
    """Whether attention by two batched products is quicker here than torch's fused kernel, by what was measured.

    On an AMD EPYC it is; on an Intel Xeon with tiles (AMX), in bf16, it is not: 65 ms a position of 16 rows against 54.
    """
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return weight.device.type == "cpu" and not (weight.dtype is torch.bfloat16 and has_tiles())


def _attended(
    query_B_K_M_D: Tensor,
    keys_B_K_S_D: Tensor,
    values_B_K_S_D: Tensor,
    bar_BK_1_S: Tensor | None,
    scaling: float,
) -> Tensor:
    """``softmax(Q Kᵀ · scaling + bar) V`` for a handful of queries, ``B_K_M_D``, where keys lie turned.

    torch's fused kernel goes through one head of one row after the other; for so few queries two batched products can be quicker.
    """
    query, keys = query_B_K_M_D.flatten(0, 1), keys_B_K_S_D.transpose(2, 3).flatten(0, 1)
    if bar_BK_1_S is None:
        scores = torch.baddbmm(query.new_zeros(1, 1, 1), query, keys, beta=0, alpha=scaling)
    else:
        scores = torch.baddbmm(bar_BK_1_S, query, keys, alpha=scaling)
    found = torch.bmm(torch.softmax(scores, dim=-1), values_B_K_S_D.flatten(0, 1))
    return found.view(query_B_K_M_D.shape)


def _layer(twin: Twin, number: int, layer: Any) -> Layer:
    at, attention = f"model.layers.{number}", layer.self_attn
    norms = (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None))
    if getattr(attention, "sliding_window", None) is not None:
        raise ValueError("attention through a window")
    if (norms[0] is None) != (norms[1] is None):
        raise ValueError("a norm of queries or keys alone")
    gate_up = _joined(twin, f"{at}.mlp", "gate_proj", "up_proj")
    gate_up.part_ways()
    return Layer(
        before_attention=_norm(layer.input_layernorm),
        qkv=_joined(twin, f"{at}.self_attn", "q_proj", "k_proj", "v_proj"),
        query_norm=None if norms[0] is None else _norm(norms[0]),
        key_norm=None if norms[1] is None else _norm(norms[1]),
        out=_joined(twin, f"{at}.self_attn", "o_proj"),
        before_mlp=_norm(layer.post_attention_layernorm),
        gate_up=gate_up,
        down=_joined(twin, f"{at}.mlp", "down_proj"),
        scaling=float(attention.scaling),
    )


def _joined(twin: Twin, parent: str, *names: str) -> Joined:
    joined = twin.joined.get(f"{parent}.{names[0]}")
    if joined is None or joined.names != names:
        raise ValueError(f"{', '.join(names)} of {parent} are not adapted alike")
    return joined


def _norm(module: Any) -> RmsNorm:
    eps = getattr(module, "variance_epsilon", None)
    if eps is None or not hasattr(module, "weight"):
        raise ValueError(f"a {type(module).__name__}")
    return RmsNorm(module.weight, float(eps))
