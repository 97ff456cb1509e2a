"""Many small tensors handled as one: an adapter and its moments are some thousand, and each copied alone costs a call or a wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

AT_ONCE = 256 << 20
"""Bytes that go together: on their way to the host they lie on the device twice."""


def copied(tensors: Sequence[Tensor], device: str | torch.device | None = None) -> list[Tensor]:
    """Copies that share nothing with the originals, but memory among themselves.

    Args:
        tensors: of any dtypes, shapes and devices.
        device: where the copies lie; None: where the originals do.
    """
    copies: list[Tensor | None] = [None] * len(tensors)
    for mine in _alike(tensors):
        parts = [tensors[place].detach() for place in mine]
        whole = torch.cat([part.reshape(-1) for part in parts])
        whole = whole if device is None else whole.to(device)
        flats = torch.split(whole, [part.numel() for part in parts])
        for place, part, flat in zip(mine, parts, flats, strict=True):
            copies[place] = flat.view(part.shape)
    return [copy for copy in copies if copy is not None]


def _alike(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Which can go together: of one dtype, on one device, and not too much at once."""
    groups: list[list[int]] = []
    open_groups: dict[tuple[torch.dtype, torch.device], tuple[list[int], int]] = {}
    for place, tensor in enumerate(tensors):
        kind, num_bytes = (tensor.dtype, tensor.device), tensor.numel() * tensor.element_size()
        group, held = open_groups.get(kind, ([], 0))
        if not group or held + num_bytes > AT_ONCE:
            group, held = [], 0
            groups.append(group)
        group.append(place)
        open_groups[kind] = group, held + num_bytes
    return groups


def copied_by_name(
    tensors: Mapping[str, Tensor], device: str | torch.device | None = None
) -> dict[str, Tensor]:
    """The same of named tensors."""
    return dict(zip(tensors, copied(list(tensors.values()), device), strict=True))


def on_host(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The tensors where the processor reads them; those of another device are copied in one go."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return [tensor.detach() for tensor in tensors]
    return copied(tensors, "cpu")


def raw(tensor: Tensor) -> Any:
    """A host tensor's bytes, of any dtype, to be read and not to be kept."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
