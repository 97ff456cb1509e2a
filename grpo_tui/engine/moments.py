"""Adam's state as flat named tensors, and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from grpo_tui.policy.many import copied


def moments(parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Adam's state flat, not copied: ``<parameter>/<key>``."""
    return {
        f"{name}/{key}": torch.as_tensor(value).detach()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def copied_state(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an optimiser's ``state_dict``. A deep copy would take each of its thousand tensors alone."""
    found = state_dict["state"]
    entries = [(index, key) for index, entry in found.items() for key in entry]
    copies = copied([torch.as_tensor(found[index][key]) for index, key in entries])
    state: dict[Any, dict[str, Tensor]] = {index: {} for index in found}
    for (index, key), value in zip(entries, copies, strict=True):
        state[index][key] = value
    return {"state": state, "param_groups": copy.deepcopy(state_dict["param_groups"])}


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
