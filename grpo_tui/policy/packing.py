"""Which position of which row each token of a batch stands at, when prompts stand once and completions share rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from grpo_tui.ops.head import MULTIPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrompts:
    """The distinct prompts of a batch, padded on the left, and which of them each row continues."""

    ids_Q_P: Tensor
    mask_Q_P: Tensor
    prompt_of_B: Tensor


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each completion stands: rows of one prompt each, filled by completions one behind the other."""

    rows: tuple[tuple[int, ...], ...]
    """The completions of each row, in order."""
    width: int
    """Positions of a row."""

    @property
    def num_positions(self) -> int:
        """Positions that go through the model."""
        return len(self.rows) * self.width


def pack(lengths_B: Sequence[int], prompt_of_B: Sequence[int]) -> Packing:
    """Put completions into as few rows as first-fit by falling length finds.

    The last token of a completion predicts nothing, so it needs no place.

    Args:
        lengths_B: tokens of each completion, at least 1.
        prompt_of_B: which prompt each continues; only completions of one prompt share a row.
    """
    needs = [length - 1 for length in lengths_B]
    width = max(needs, default=0)
    rows: list[list[int]] = []
    left: list[int] = []
    of_prompt: dict[int, list[int]] = {}
    for completion in sorted(range(len(needs)), key=lambda b: -needs[b]):
        if not needs[completion]:
            continue
        mine = of_prompt.setdefault(prompt_of_B[completion], [])
        row = next((row for row in mine if left[row] >= needs[completion]), None)
        if row is None:
            row = len(rows)
            rows.append([])
            left.append(width)
            mine.append(row)
        rows[row].append(completion)
        left[row] -= needs[completion]
    return Packing(tuple(map(tuple, rows)), width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A batch laid out: Q prompts of P positions, then R rows of W positions, each row's completions behind each other.

    Positions are counted through both, prompts first, and made up to a :data:`MULTIPLE` by some that nobody looks at:
    N = Q P + R W + spare.
    """

    ids_Q_P: Tensor
    ids_R_W: Tensor
    positions_Q_P: Tensor
    positions_R_W: Tensor
    mask_Q_P: Tensor
    looks_R_W_S: Tensor
    """Which positions of its prompt and then of its row a position may look at, S = P + W."""
    prompt_of_R: Tensor
    source_B_T: Tensor
    """The position that predicts each token of each completion; any, behind a completion's end."""

    @property
    def num_spare(self) -> int:
        """Positions at the end that are nobody's."""
        return -(self.ids_Q_P.numel() + self.ids_R_W.numel()) % MULTIPLE

    @property
    def ids_N(self) -> Tensor:
        """All tokens in the order of the positions."""
        return self._flat(self.ids_Q_P, self.ids_R_W)

    @property
    def positions_N(self) -> Tensor:
        """Their places after the beginning of their prompts."""
        return self._flat(self.positions_Q_P, self.positions_R_W)

    def _flat(self, of_prompts_Q_P: Tensor, of_rows_R_W: Tensor) -> Tensor:
        spare = of_prompts_Q_P.new_zeros(self.num_spare)
        return torch.cat((of_prompts_Q_P.flatten(), of_rows_R_W.flatten(), spare))


def packed(prompts: SharedPrompts, completion_ids_B_T: Tensor, completion_mask_B_T: Tensor) -> Packed:
    """Lay a batch out.

    Args:
        prompts: once each.
        completion_ids_B_T: completions, padded on the right.
        completion_mask_B_T: True on their tokens.
    """
    mask_Q_P, device = prompts.mask_Q_P, completion_ids_B_T.device
    num_columns = completion_ids_B_T.shape[1]
    lengths, prompt_of = completion_mask_B_T.sum(1).tolist(), prompts.prompt_of_B.tolist()
    packing = pack(lengths, prompt_of)
    taken_R_W, owner_R_W, step_R_W = (
        torch.from_numpy(array).to(device) for array in _layout(packing, lengths, num_columns)
    )
    prompt_of_R = torch.tensor([prompt_of[row[0]] for row in packing.rows], dtype=torch.long, device=device)
    seen_R_P = mask_Q_P[prompt_of_R]
    same = owner_R_W[:, :, None] == owner_R_W[:, None, :]
    earlier = step_R_W[:, :, None] >= step_R_W[:, None, :]
    looks = torch.cat([seen_R_P[:, None, :].expand(-1, packing.width, -1), same & earlier], dim=-1)
    # The first token is predicted by its prompt's last, every other by the one before it.
    num_prompt_positions = mask_Q_P.shape[1]
    last_B = prompts.prompt_of_B * num_prompt_positions + num_prompt_positions - 1
    source_B_T = last_B[:, None].repeat(1, num_columns)
    owned = owner_R_W >= 0
    places = torch.arange(owned.numel(), device=device).view(owned.shape)[owned] + mask_Q_P.numel()
    source_B_T[owner_R_W[owned], step_R_W[owned] + 1] = places
    return Packed(
        ids_Q_P=prompts.ids_Q_P,
        ids_R_W=completion_ids_B_T.flatten()[taken_R_W],
        positions_Q_P=(mask_Q_P.long().cumsum(dim=1) - 1).clamp(min=0),
        positions_R_W=seen_R_P.sum(dim=1, keepdim=True) + step_R_W,
        mask_Q_P=mask_Q_P,
        looks_R_W_S=looks,
        prompt_of_R=prompt_of_R,
        source_B_T=source_B_T,
    )


def _layout(
    packing: Packing, lengths_B: Sequence[int], num_columns: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each position ``R_W``: which slot of ``B_T`` it takes its token from, whose it is (−1: nobody's), and its place."""
    shape = (len(packing.rows), packing.width)
    taken, owner = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    step = np.tile(np.arange(packing.width), (len(packing.rows), 1))
    for row, completions in enumerate(packing.rows):
        at = 0
        for completion in completions:
            count = lengths_B[completion] - 1
            part = slice(at, at + count)
            owner[row, part] = completion
            step[row, part] = np.arange(count)
            taken[row, part] = completion * num_columns + np.arange(count)
            at += count
        step[row, at:] = np.arange(packing.width - at)
    return taken, owner, step
