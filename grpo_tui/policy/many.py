"""Many small tensors handled as one: an adapter and its moments are some thousand, and each copied alone costs a call or a wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def copied(tensors: Sequence[Tensor], device: str | torch.device | None = None) -> list[Tensor]:
    """Copies that share nothing with the originals, but memory among themselves.

    Args:
        tensors: of any dtypes, shapes and devices.
        device: where the copies lie; None: where the originals do.
    """
    copies: list[Tensor | None] = [None] * len(tensors)
    places: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for place, tensor in enumerate(tensors):
        places.setdefault((tensor.dtype, tensor.device), []).append(place)
    for mine in places.values():
        parts = [tensors[place].detach() for place in mine]
        whole = torch.cat([part.reshape(-1) for part in parts])
        whole = whole if device is None else whole.to(device)
        flats = torch.split(whole, [part.numel() for part in parts])
        for place, part, flat in zip(mine, parts, flats, strict=True):
            copies[place] = flat.view(part.shape)
    return [copy for copy in copies if copy is not None]


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
