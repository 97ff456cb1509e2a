"""Adam's state as flat named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def moments(parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Adam's state flat, not copied: ``<parameter>/<key>``."""
    return {
        f"{name}/{key}": torch.as_tensor(value).detach()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_moments(
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.AdamW,
    tensors: Mapping[str, Tensor],
) -> None:
    """Put a flat state back, as a copy; parameters without entries have none afterwards."""
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, kind = key.rpartition("/")
        entries.setdefault(name, {})[kind] = value.clone()
    state = {index: entries[name] for index, name in enumerate(parameters) if name in entries}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
