"""Attention over packed positions: prompts among themselves, and each row of completions over its prompt and itself.

Short rows on a CPU go through products written here, forward and backward: what :mod:`grpo_tui.policy.attention` says of them
holds, and autograd's slices, copies and sums between queries, keys and their gradients are saved. Others go through that
module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from grpo_tui.policy.attention import SHORT, barred, update_attention
from grpo_tui.policy.packing import Packed
from grpo_tui.policy.room import Lease, room_for

KEYS = 32
"""Scores that are held have a multiple of so many columns: torch's softmax takes twice as long over rows of odd length."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of equal length that attend alike."""

    positions: slice
    rows: int
    length: int
    prompt_of_R: Tensor | None
    """The prompt that each row continues; None: they are the prompts."""
    looks_R_1_L_S: Tensor
    bar_R_1_L_Z: Tensor | None
    """What is added to the scores, where they are held; keys beyond those there are (Z > S) are barred to all."""


@dataclass(frozen=True, slots=True)
class Attending:
    """How the positions of one batch attend, the same for every layer."""

    segments: tuple[Segment, ...]
    num_prompts: int
    prompt_length: int
    is_short: bool

    @property
    def spare(self) -> slice:
        """Positions that attend to nothing."""
        return slice(self.segments[-1].positions.stop, None)

    @property
    def prompts(self) -> slice:
        """The prompts' positions."""
        return slice(0, self.num_prompts * self.prompt_length)


def attending(packed: Packed, dtype: torch.dtype) -> Attending:
    """Masks for all layers, where scores are of this dtype."""
    num_prompts, prompt_length = packed.ids_Q_P.shape
    num_rows, width = packed.ids_R_W.shape
    device = packed.ids_Q_P.device
    causal = torch.ones(prompt_length, prompt_length, dtype=torch.bool, device=device).tril()
    # A padded position looks at itself: what a fused kernel makes of a softmax over nothing is its own affair.
    of_prompts = causal & packed.mask_Q_P[:, None, :]
    of_prompts = of_prompts | torch.eye(prompt_length, dtype=torch.bool, device=device)
    longest = max(prompt_length * prompt_length, width * (prompt_length + width))
    is_short = device.type == "cpu" and longest <= SHORT
    start = num_prompts * prompt_length

    def segment(
        positions: slice, rows: int, length: int, prompt_of_R: Tensor | None, looks: Tensor
    ) -> Segment:
        bar = None
        if is_short:
            bar = barred(pad(looks, (0, -looks.shape[-1] % KEYS)), dtype)[:, None]
        return Segment(positions, rows, length, prompt_of_R, looks[:, None], bar)

    segments = [segment(slice(0, start), num_prompts, prompt_length, None, of_prompts)]
    if num_rows:
        rest = slice(start, start + num_rows * width)
        segments.append(segment(rest, num_rows, width, packed.prompt_of_R, packed.looks_R_W_S))
    return Attending(tuple(segments), num_prompts, prompt_length, is_short)


def attend(
    turned_N_HK_D: Tensor,
    values_N_K_D: Tensor,
    plan: Attending,
    heads: int,
    scaling: float,
    lease: Lease | None = None,
) -> Tensor:
    """``softmax(Q Kᵀ · scaling + mask) V`` with gradient, ``N_HD``.

    Args:
        turned_N_HK_D: heads of queries and then of keys, rotated.
        values_N_K_D: values.
        plan: who looks where.
        heads: of queries; a multiple of those of keys.
        scaling: of the scores.
        lease: of memory for what is kept.
    """
    if plan.is_short:
        short: Any = _Short.apply
        found: Tensor = short(turned_N_HK_D, values_N_K_D, plan, heads, scaling, lease)
        return found
    parts = []
    for segment in plan.segments:
        queries = _rows(turned_N_HK_D[:, :heads], segment).transpose(1, 2)
        keys, values = (
            _with_prompt(t, segment, plan).transpose(1, 2) for t in (turned_N_HK_D[:, heads:], values_N_K_D)
        )
        looks = segment.looks_R_1_L_S
        attended, _ = update_attention(torch.nn.Identity(), queries, keys, values, looks, scaling)
        parts.append(attended.flatten(0, 1).flatten(1))
    parts.append(torch.zeros_like(turned_N_HK_D[plan.spare, :heads].flatten(1)))
    return torch.cat(parts)


def _split(tensor: Tensor, dim: int, first: int, second: int) -> Tensor:
    """A view with one dimension in two; −1 is what is left."""
    view: Tensor = tensor.unflatten(dim, (first, second))  # type: ignore[no-untyped-call]
    return view


def _rows(t_N_X_D: Tensor, segment: Segment) -> Tensor:
    """A segment's own positions, ``R_L_X_D``."""
    return _split(t_N_X_D[segment.positions], 0, segment.rows, segment.length)


def _with_prompt(t_N_X_D: Tensor, segment: Segment, plan: Attending) -> Tensor:
    """What a segment's positions look at, ``R_S_X_D``: their prompt's, and their own."""
    own = _rows(t_N_X_D, segment)
    if segment.prompt_of_R is None:
        return own
    prompts = _split(t_N_X_D[plan.prompts], 0, plan.num_prompts, plan.prompt_length)
    return torch.cat((prompts.index_select(0, segment.prompt_of_R), own), dim=1)


class _Short(torch.autograd.Function):
    """Attention whose probabilities are held. Queries that share a head of keys go as if they were positions of it."""

    @staticmethod
    def forward(
        ctx: Any,
        turned_N_HK_D: Tensor,
        values_N_K_D: Tensor,
        plan: Attending,
        heads: int,
        scaling: float,
        lease: Lease | None,
    ) -> Tensor:
        num_positions, _, size = turned_N_HK_D.shape
        shared = values_N_K_D.shape[1]
        attended = room_for(lease, (num_positions, heads, size), turned_N_HK_D)
        attended[plan.spare] = 0.0
        kept = []
        for segment in plan.segments:
            rows, length = segment.rows, segment.length
            queries = room_for(lease, (rows, shared, heads // shared, length, size), turned_N_HK_D)
            torch.mul(_grouped(turned_N_HK_D[:, :heads], segment, shared), scaling, out=queries)
            q_RK_M_D = queries.view(rows * shared, -1, size)
            k_RK_Z_D = _by_head(turned_N_HK_D[:, heads:], segment, plan, lease)
            v_RK_Z_D = _by_head(values_N_K_D, segment, plan, lease)
            assert segment.bar_R_1_L_Z is not None
            scores = torch.bmm(q_RK_M_D, k_RK_Z_D.transpose(1, 2))
            scores.view(rows, heads, length, -1).add_(segment.bar_R_1_L_Z)
            p_RK_M_Z = torch.softmax(scores, dim=-1, out=room_for(lease, scores.shape, scores))
            found = torch.bmm(p_RK_M_Z, v_RK_Z_D).view(rows, shared, -1, length, size)
            _grouped(attended, segment, shared).copy_(found)
            kept += [q_RK_M_D, k_RK_Z_D, v_RK_Z_D, p_RK_M_Z]
        ctx.save_for_backward(*kept)
        ctx.plan, ctx.heads, ctx.shared, ctx.scaling, ctx.lease = plan, heads, shared, scaling, lease
        return attended.flatten(1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,misc,unused-ignore]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        plan, heads, shared = ctx.plan, ctx.heads, ctx.shared
        grad_N_H_D = _split(grads[0], 1, heads, -1)
        num_positions, _, size = grad_N_H_D.shape
        grad_turned = grad_N_H_D.new_empty(num_positions, heads + shared, size)
        grad_values = grad_N_H_D.new_empty(num_positions, shared, size)
        grad_turned[plan.spare], grad_values[plan.spare] = 0.0, 0.0
        kept = ctx.saved_tensors
        for number, segment in enumerate(plan.segments):
            q_RK_M_D, k_RK_Z_D, v_RK_Z_D, p_RK_M_Z = kept[4 * number : 4 * number + 4]
            grad = _grouped(grad_N_H_D, segment, shared).reshape(q_RK_M_D.shape)
            grad_v = torch.bmm(p_RK_M_Z.transpose(1, 2), grad)
            grad_p = torch.bmm(grad, v_RK_Z_D.transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_p, p_RK_M_Z, -1, p_RK_M_Z.dtype)
            grad_k = torch.bmm(grad_scores.transpose(1, 2), q_RK_M_D)
            grad_q = torch.bmm(grad_scores, k_RK_Z_D).view(segment.rows, shared, -1, segment.length, size)
            torch.mul(grad_q, ctx.scaling, out=_grouped(grad_turned[:, :heads], segment, shared))
            _give_back(grad_turned[:, heads:], grad_k, segment, plan)
            _give_back(grad_values, grad_v, segment, plan)
        return grad_turned, grad_values, None, None, None, None


def _grouped(t_N_H_D: Tensor, segment: Segment, shared: int) -> Tensor:
    """A view of a segment's queries by the head of keys they share, ``R_K_(H/K)_L_D``."""
    return _split(_rows(t_N_H_D, segment), 2, shared, -1).permute(0, 2, 3, 1, 4)


def _by_head(t_N_K_D: Tensor, segment: Segment, plan: Attending, lease: Lease | None) -> Tensor:
    """What a segment's positions look at, a copy by head, ``RK_Z_D``, made up with zeros to a multiple of :data:`KEYS`."""
    own = _rows(t_N_K_D, segment).transpose(1, 2)
    before = 0 if segment.prompt_of_R is None else plan.prompt_length
    there = before + segment.length
    whole = room_for(lease, (segment.rows, own.shape[1], there + -there % KEYS, own.shape[-1]), own)
    if segment.prompt_of_R is not None:
        prompts = _split(t_N_K_D[plan.prompts], 0, plan.num_prompts, before).transpose(1, 2)
        whole[:, :, :before] = prompts[segment.prompt_of_R]
    whole[:, :, before:there] = own
    whole[:, :, there:] = 0.0
    return whole.flatten(0, 1)


def _give_back(into_N_K_D: Tensor, grad_RK_Z_D: Tensor, segment: Segment, plan: Attending) -> None:
    """Write a segment's gradient of keys or values to its own positions, and add what belongs to its prompts to theirs."""
    before = 0 if segment.prompt_of_R is None else plan.prompt_length
    grad_R_K_S_D = _split(grad_RK_Z_D, 0, segment.rows, -1)[:, :, : before + segment.length]
    _rows(into_N_K_D, segment).copy_(grad_R_K_S_D[:, :, before:].transpose(1, 2))
    if segment.prompt_of_R is None:
        return
    # A product, for on several threads index_add has no fixed order; and in float32, for many rows meet here.
    of_prompt_Q_R = torch.zeros(plan.num_prompts, segment.rows, device=grad_RK_Z_D.device)
    of_prompt_Q_R[segment.prompt_of_R, torch.arange(segment.rows, device=grad_RK_Z_D.device)] = 1.0
    theirs = grad_R_K_S_D[:, :, :before]
    raised = theirs.to(torch.promote_types(theirs.dtype, torch.float32))
    summed = (of_prompt_Q_R.to(raised.dtype) @ raised.reshape(segment.rows, -1)).view(-1, *theirs.shape[1:])
    prompts = _split(into_N_K_D[plan.prompts], 0, plan.num_prompts, before)
    prompts.add_(summed.transpose(1, 2))
