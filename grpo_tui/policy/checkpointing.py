"""Gradient checkpointing: the update keeps each layer's input alone, and computes its inside again on the way back.

Memory for activations falls from all layers' to about one layer's, for one more forward pass in the update (Chen et al.,
arXiv 1604.06174). The numbers are the same: a layer is computed again from the same input, with the same dropout.

transformers' own switch does not serve: it drops the key-value cache that completions share their prompt through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import checkpoint as recomputing
from transformers.cache_utils import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from grpo_tui.policy.errors import PolicyError
from grpo_tui.policy.policy import Policy


@contextmanager
def checkpointed(policy: Policy, on: bool = True) -> Iterator[None]:
    """Within: layers that run with gradient keep their input only. A backward pass belongs inside too.

    Raises:
        PolicyError: the model is not made of layers that can be run again.
    """
    if not on:
        yield
        return
    layers = checkpointed_layers(policy)
    for layer in layers:
        layer.forward = _again(layer.forward)
    if policy.lean is not None:
        policy.lean.recomputes = True
    try:
        yield
    finally:
        if policy.lean is not None:
            policy.lean.recomputes = False
        for layer in layers:
            del layer.forward  # back to the method of its class


def checkpointed_layers(policy: Policy) -> list[Any]:
    """The layers that can be run again: of the model, which a critic uses too, and of its lean twin.

    Raises:
        PolicyError: there are none.
    """
    models = [policy.model] + ([policy.lean.model] if policy.lean is not None else [])
    layers = [
        module
        for model in models
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer)
    ]
    if not layers:
        raise PolicyError(
            "optim.gradient_checkpointing: this model has no layers that can be computed again; set it to false"
        )
    return layers


def _again(forward: Any) -> Any:
    """The layer's forward, run again in the backward pass where there will be one."""

    def run(*args: Any, **kwargs: Any) -> Any:
        # A layer that appends to a cache would append twice: that is a shared prompt's pass, which is small.
        remembers = any(isinstance(value, DynamicCache) for value in (*args, *kwargs.values()))
        if remembers or not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return recomputing.checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
