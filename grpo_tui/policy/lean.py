"""A twin of the policy for scoring and updating: the same weights and the same adapter, without PEFT's layers around them.

PEFT computes each LoRA branch in float32 with its own copy of the layer's input, keeps that copy for the backward pass, and
does so in a dozen small calls. The twin's layers share the very parameters (so gradients arrive where the optimiser looks
for them), compute in the dtype of the frozen weights, and keep only what the backward pass needs: the input, which
neighbouring layers share, and the product with A.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from grpo_tui.policy.shared import can_share

if TYPE_CHECKING:
    from grpo_tui.policy.straight import StraightStates

LORA = "default"
"""PEFT's name for the policy's adapter."""


SCALED_HEADS = ("final_logit_softcapping", "logits_scaling", "logit_scale", "output_multiplier_scale")
"""Settings of models whose logits are not just W h: Gemma 2, Granite, Cohere and the like."""


@dataclass(slots=True)
class Switch:
    """Whether the adapter takes part; one for all layers."""

    on: bool = True


class _LoraProduct(torch.autograd.Function):
    """``y = W x + b + s B (A x)`` with W and b frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a_R_I: Tensor, b_O_R: Tensor, scale: float
    ) -> Tensor:
        a, b = a_R_I.to(x.dtype), (b_O_R * scale).to(x.dtype)
        low = nn.functional.linear(x, a)
        y = nn.functional.linear(x, weight, bias)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale = scale
        # In place: the product is new, and a sum beside it would be one more tensor of its size.
        y.flatten(0, -2).addmm_(low.flatten(0, -2), b.t())
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_y,) = grads
        x, weight, a, b, low = ctx.saved_tensors
        flat = grad_y.flatten(0, -2)
        grad_low = flat @ b
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (flat @ weight).addmm_(grad_low, a).view(x.shape)
        grad_a = (grad_low.t() @ x.flatten(0, -2)).float()
        grad_b = (flat.t() @ low.flatten(0, -2)).float() * ctx.scale
        return grad_x, None, None, grad_a, grad_b, None


class LeanLora(nn.Module):
    """One adapted linear layer over shared parameters."""

    def __init__(self, source: Any, switch: Switch) -> None:
        super().__init__()
        base = source.base_layer
        self.weight, self.bias = base.weight, base.bias
        self.a_R_I, self.b_O_R = source.lora_A[LORA].weight, source.lora_B[LORA].weight
        self.scale = float(source.scaling[LORA])
        self.switch = switch

    def forward(self, x: Tensor) -> Tensor:
        """The adapted product, or the plain one while the adapter is switched off."""
        if not self.switch.on:
            return nn.functional.linear(x, self.weight, self.bias)
        apply: Any = _LoraProduct.apply
        product: Tensor = apply(x, self.weight, self.bias, self.a_R_I, self.b_O_R, self.scale)
        return product


class LeanNorm(nn.Module):
    """Root-mean-square normalisation in one call, which keeps its input for the backward pass and no float32 copies."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.weight, self.eps = source.weight, float(source.variance_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """``x / rms(x) · w``."""
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


class LeanTwin:
    """The policy's model with lean layers, and its language-model head apart."""

    def __init__(self, base: Any, attention: str | None = None) -> None:
        """Build the twin.

        Args:
            base: the model under PEFT's wrapper, its adapted layers in place.
            attention: name of a registered attention function; None: the model's own.

        Raises:
            ValueError: a layer is adapted in a way that the twin does not know.
        """
        shared: dict[int, Any] = {id(t): t for t in (*base.parameters(), *base.buffers())}
        self.switch = Switch()
        self.model: Any = copy.deepcopy(base, shared).eval()
        for name, source in [(n, m) for n, m in base.named_modules() if hasattr(m, "lora_A")]:
            _check(source)
            parent_name, _, leaf = name.rpartition(".")
            setattr(self.model.get_submodule(parent_name), leaf, LeanLora(source, self.switch))
        _put_lean_norms(self.model)
        if attention is not None:
            self.model.config._attn_implementation = attention
        head = self.model.get_output_embeddings()
        if type(head) is not nn.Linear:
            raise ValueError(f"its head is a {type(head).__name__}")
        odd = [key for key in SCALED_HEADS if getattr(base.config, key, None) not in (None, 0, 1, 1.0)]
        if odd:
            raise ValueError(f"what stands behind its head is changed once more ({', '.join(odd)})")
        self.backbone: Any = self.model.base_model
        if self.backbone is self.model:
            raise ValueError("its body cannot be told from its head")
        self.head_weight: Tensor = head.weight
        self.head_bias: Tensor | None = head.bias
        self.shares_prompts = can_share(base.config)
        """Whether a prompt can go through once for all its completions."""
        self.straight: StraightStates | None = None
        """What computes packed positions without the model's modules; None: not for this model."""
        self.recomputes = False
        """Whether layers keep their input only until the way back (:mod:`grpo_tui.policy.checkpointing`)."""


def _put_lean_norms(model: Any) -> None:
    """Replace norms that are plain root-mean-square ones; Gemma's, which add 1 to their weights, stay."""
    for name, norm in [(n, m) for n, m in model.named_modules() if hasattr(m, "variance_epsilon")]:
        lean = LeanNorm(norm)
        probe = torch.linspace(-1.0, 2.0, norm.weight.numel()).to(norm.weight)
        if torch.allclose(lean(probe), norm(probe), rtol=2e-2 if probe.dtype is torch.bfloat16 else 1e-5):
            parent_name, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent_name), leaf, lean)


def _check(source: Any) -> None:
    if type(source.base_layer) is not nn.Linear:
        raise ValueError(f"an adapted layer is a {type(source.base_layer).__name__}")
    plain = set(source.lora_A) >= {LORA} and not getattr(source, "use_dora", {}).get(LORA)
    if not plain or type(source.lora_dropout[LORA]) is not nn.Identity:
        raise ValueError("a layer is adapted by something other than LoRA without dropout")
    if source.lora_B[LORA].bias is not None:
        raise ValueError("an adapter has a bias")
