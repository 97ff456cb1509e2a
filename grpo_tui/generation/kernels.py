"""One position of a Llama-like model in five Triton kernels a layer. Imported on CUDA only, where torch brings Triton along.

A small model's position is bound by how many kernels it takes: each costs some microseconds, whatever it does. What
:mod:`grpo_tui.generation.straight` does in two dozen kernels a layer, these do in five, with sums in float32. A norm's 1 / rms is put to the product instead of to what goes in, so that one pass over
the inputs does for both:

    queries, keys and values    RMSNorm, products with their adapters, norms of heads, rotation, writing to the cache
    attention                   of one query position over what is in the cache
    gated MLP                   RMSNorm, two products with their adapters, silu, product
    product with residual       twice: after attention, and after the MLP

Matrices are those of :class:`~grpo_tui.generation.products.Joined`: ``[W | B]`` with A apart, where an adapter stands beside.
Names: ``R`` ranks of an adapter, ``D`` numbers of a head, ``H`` heads of queries, ``K`` of keys.
"""

# Triton reads these functions' source; its types are not Python's.
# mypy: ignore-errors
# ruff: noqa: SIM102, SIM108

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _with_adapter(
    acc,
    low,
    w_ptr,
    outputs,
    output_mask,
    w_stride,
    INPUTS: tl.constexpr,
    rank_start,
    R: tl.constexpr,
    RANKS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add the product of ``A x``, rounded as :class:`Joined` rounds it, with B, whose columns stand behind W's."""
    ranks = tl.arange(0, RANKS)
    b = tl.load(
        w_ptr + outputs[:, None] * w_stride + INPUTS + rank_start + ranks[None, :],
        mask=output_mask[:, None] & (ranks < R)[None, :],
        other=0.0,
    )
    return acc + tl.dot(low.to(b.dtype), tl.trans(b), input_precision=PRECISION)


@triton.jit
def qkv_kernel(
    x_ptr, norm_ptr, w_ptr, a_ptr, bias_ptr, cos_ptr, sin_ptr, q_norm_ptr, k_norm_ptr, slot_ptr,
    q_ptr, keys_ptr, values_ptr,
    num_rows, x_stride, w_stride, a_stride, row_stride, head_stride, eps, head_eps,
    INPUTS: tl.constexpr, H: tl.constexpr, K: tl.constexpr, HALF: tl.constexpr, R: tl.constexpr, RANKS: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_HEAD_NORMS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One head of queries, keys or values, for a block of rows."""
    head = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    row_mask = rows < num_rows
    halves = tl.arange(0, HALF)
    first = head * 2 * HALF + halves
    second = first + HALF
    whole = halves >= 0
    # Which of the three adapters this head's is: queries', keys' or values'.
    part = (head >= H).to(tl.int32) + (head >= H + K).to(tl.int32)
    squares = tl.zeros((ROWS,), tl.float32)
    acc_first = tl.zeros((ROWS, HALF), tl.float32)
    acc_second = tl.zeros((ROWS, HALF), tl.float32)
    low = tl.zeros((ROWS, RANKS), tl.float32)
    ranks = tl.arange(0, RANKS)
    for start in range(0, INPUTS, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        there = columns < INPUTS
        x = tl.load(
            x_ptr + rows[:, None] * x_stride + columns[None, :],
            mask=row_mask[:, None] & there[None, :],
            other=0.0,
        )
        weight = tl.load(norm_ptr + columns, mask=there, other=0.0).to(tl.float32)
        raised = x.to(tl.float32)
        squares += tl.sum(raised * raised, axis=1)
        weighted = (raised * weight[None, :]).to(x.dtype)
        w_first = tl.load(
            w_ptr + first[:, None] * w_stride + columns[None, :], mask=there[None, :], other=0.0
        )
        w_second = tl.load(
            w_ptr + second[:, None] * w_stride + columns[None, :], mask=there[None, :], other=0.0
        )
        acc_first = tl.dot(weighted, tl.trans(w_first), acc_first, input_precision=PRECISION)
        acc_second = tl.dot(weighted, tl.trans(w_second), acc_second, input_precision=PRECISION)
        if R > 0:
            a = tl.load(
                a_ptr + (part * R + ranks)[:, None] * a_stride + columns[None, :],
                mask=(ranks < R)[:, None] & there[None, :],
                other=0.0,
            )
            low = tl.dot(weighted, tl.trans(a), low, input_precision=PRECISION)
    inverse = tl.rsqrt(squares / INPUTS + eps)[:, None]
    acc_first, acc_second, low = acc_first * inverse, acc_second * inverse, low * inverse
    if R > 0:
        acc_first = _with_adapter(
            acc_first, low, w_ptr, first, whole, w_stride, INPUTS, part * R, R, RANKS, PRECISION
        )
        acc_second = _with_adapter(
            acc_second, low, w_ptr, second, whole, w_stride, INPUTS, part * R, R, RANKS, PRECISION
        )
    if HAS_BIAS:
        acc_first += tl.load(bias_ptr + first).to(tl.float32)[None, :]
        acc_second += tl.load(bias_ptr + second).to(tl.float32)[None, :]
    kind = x_ptr.dtype.element_ty
    acc_first = acc_first.to(kind).to(tl.float32)
    acc_second = acc_second.to(kind).to(tl.float32)
    if HAS_HEAD_NORMS:  # known when compiled, and the next is not
        if part < 2:
            lengths = tl.sum(acc_first * acc_first, axis=1) + tl.sum(acc_second * acc_second, axis=1)
            scale = tl.rsqrt(lengths / (2 * HALF) + head_eps)
            of_queries = part == 0
            w_first_half = tl.load(q_norm_ptr + halves, mask=whole & of_queries, other=0.0).to(tl.float32)
            w_first_half += tl.load(k_norm_ptr + halves, mask=whole & (part == 1), other=0.0).to(tl.float32)
            w_second_half = tl.load(q_norm_ptr + HALF + halves, mask=whole & of_queries, other=0.0).to(
                tl.float32
            )
            w_second_half += tl.load(k_norm_ptr + HALF + halves, mask=whole & (part == 1), other=0.0).to(
                tl.float32
            )
            acc_first = (acc_first * scale[:, None] * w_first_half[None, :]).to(kind).to(tl.float32)
            acc_second = (acc_second * scale[:, None] * w_second_half[None, :]).to(kind).to(tl.float32)
    if part < 2:
        at = rows[:, None] * (2 * HALF) + halves[None, :]
        cos_first = tl.load(cos_ptr + at, mask=row_mask[:, None], other=0.0).to(tl.float32)
        sin_first = tl.load(sin_ptr + at, mask=row_mask[:, None], other=0.0).to(tl.float32)
        cos_second = tl.load(cos_ptr + at + HALF, mask=row_mask[:, None], other=0.0).to(tl.float32)
        sin_second = tl.load(sin_ptr + at + HALF, mask=row_mask[:, None], other=0.0).to(tl.float32)
        turned = acc_first * cos_first - acc_second * sin_first
        acc_second = acc_second * cos_second + acc_first * sin_second
        acc_first = turned
    if part == 0:
        into = q_ptr + (rows * H + head)[:, None] * (2 * HALF)
    else:
        slot = tl.load(slot_ptr)
        shared = head - H - (part - 1) * K
        place = rows.to(tl.int64)[:, None] * row_stride + shared * head_stride + slot * (2 * HALF)
        if part == 1:
            into = keys_ptr + place
        else:
            into = values_ptr + place
    tl.store(into + halves[None, :], acc_first.to(kind), mask=row_mask[:, None])
    tl.store(into + HALF + halves[None, :], acc_second.to(kind), mask=row_mask[:, None])


@triton.jit
def attention_kernel(
    q_ptr, keys_ptr, values_ptr, looks_ptr, slot_ptr, out_ptr,
    row_stride, head_stride, looks_stride, scaling,
    GROUP: tl.constexpr, QUERIES: tl.constexpr, K: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The queries of one row that share a head of keys, over the row's columns up to the newest."""
    row = tl.program_id(0).to(tl.int64)
    shared = tl.program_id(1)
    queries, numbers = tl.arange(0, QUERIES), tl.arange(0, D)
    at = (row * K + shared) * GROUP * D + queries[:, None] * D + numbers[None, :]
    query_mask = (queries < GROUP)[:, None]
    q = tl.load(q_ptr + at, mask=query_mask, other=0.0)
    start_ptr = row * row_stride + shared * head_stride
    highest = tl.full((QUERIES,), -1e30, tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    acc = tl.zeros((QUERIES, D), tl.float32)
    length = tl.load(slot_ptr).to(tl.int32) + 1
    for start in range(0, length, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        there = columns < length
        looks = tl.load(looks_ptr + row * looks_stride + columns, mask=there, other=0) != 0
        keys = tl.load(
            keys_ptr + start_ptr + columns[:, None] * D + numbers[None, :], mask=there[:, None], other=0.0
        )
        scores = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scaling
        scores = tl.where(looks[None, :], scores, -1e30)
        now = tl.maximum(highest, tl.max(scores, axis=1))
        weights = tl.where(looks[None, :], tl.exp(scores - now[:, None]), 0.0)
        fading = tl.exp(highest - now)
        values = tl.load(
            values_ptr + start_ptr + columns[:, None] * D + numbers[None, :], mask=there[:, None], other=0.0
        )
        total = total * fading + tl.sum(weights, axis=1)
        acc = acc * fading[:, None] + tl.dot(weights.to(values.dtype), values, input_precision=PRECISION)
        highest = now
    tl.store(out_ptr + at, (acc / total[:, None]).to(q.dtype), mask=query_mask)


@triton.jit
def residual_kernel(
    x_ptr, w_ptr, a_ptr, bias_ptr, residual_ptr, out_ptr,
    num_rows, x_stride, w_stride, a_stride,
    INPUTS: tl.constexpr, WIDTH: tl.constexpr, R: tl.constexpr, RANKS: tl.constexpr, HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """An adapted product, added to a residual after it has been rounded: see :mod:`grpo_tui.policy.straight`."""
    outputs = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    output_mask = outputs < WIDTH
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    row_mask = rows < num_rows
    acc = tl.zeros((ROWS, OUTPUTS), tl.float32)
    low = tl.zeros((ROWS, RANKS), tl.float32)
    ranks = tl.arange(0, RANKS)
    for start in range(0, INPUTS, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        there = columns < INPUTS
        x = tl.load(
            x_ptr + rows[:, None] * x_stride + columns[None, :],
            mask=row_mask[:, None] & there[None, :],
            other=0.0,
        )
        w = tl.load(
            w_ptr + outputs[:, None] * w_stride + columns[None, :],
            mask=output_mask[:, None] & there[None, :],
            other=0.0,
        )
        acc = tl.dot(x, tl.trans(w), acc, input_precision=PRECISION)
        if R > 0:
            a = tl.load(
                a_ptr + ranks[:, None] * a_stride + columns[None, :],
                mask=(ranks < R)[:, None] & there[None, :],
                other=0.0,
            )
            low = tl.dot(x, tl.trans(a), low, input_precision=PRECISION)
    if R > 0:
        acc = _with_adapter(acc, low, w_ptr, outputs, output_mask, w_stride, INPUTS, 0, R, RANKS, PRECISION)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + outputs, mask=output_mask, other=0.0).to(tl.float32)[None, :]
    kind = x_ptr.dtype.element_ty
    at = rows[:, None] * WIDTH + outputs[None, :]
    mask = row_mask[:, None] & output_mask[None, :]
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, (acc.to(kind).to(tl.float32) + residual).to(kind), mask=mask)


@triton.jit
def gated_kernel(
    x_ptr, norm_ptr, w_ptr, a_ptr, bias_ptr, out_ptr,
    num_rows, x_stride, w_stride, a_stride, eps,
    INPUTS: tl.constexpr, F: tl.constexpr, R: tl.constexpr, RANKS: tl.constexpr, HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``silu(gate) · up`` of the normed input; gate's and up's matrices stand below each other."""
    gates = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    output_mask = gates < F
    ups = gates + F
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    row_mask = rows < num_rows
    squares = tl.zeros((ROWS,), tl.float32)
    gate = tl.zeros((ROWS, OUTPUTS), tl.float32)
    up = tl.zeros((ROWS, OUTPUTS), tl.float32)
    low_gate = tl.zeros((ROWS, RANKS), tl.float32)
    low_up = tl.zeros((ROWS, RANKS), tl.float32)
    ranks = tl.arange(0, RANKS)
    for start in range(0, INPUTS, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        there = columns < INPUTS
        x = tl.load(
            x_ptr + rows[:, None] * x_stride + columns[None, :],
            mask=row_mask[:, None] & there[None, :],
            other=0.0,
        )
        weight = tl.load(norm_ptr + columns, mask=there, other=0.0).to(tl.float32)
        raised = x.to(tl.float32)
        squares += tl.sum(raised * raised, axis=1)
        weighted = (raised * weight[None, :]).to(x.dtype)
        w_mask = output_mask[:, None] & there[None, :]
        w_gate = tl.load(w_ptr + gates[:, None] * w_stride + columns[None, :], mask=w_mask, other=0.0)
        w_up = tl.load(w_ptr + ups[:, None] * w_stride + columns[None, :], mask=w_mask, other=0.0)
        gate = tl.dot(weighted, tl.trans(w_gate), gate, input_precision=PRECISION)
        up = tl.dot(weighted, tl.trans(w_up), up, input_precision=PRECISION)
        if R > 0:
            a_mask = (ranks < R)[:, None] & there[None, :]
            a_gate = tl.load(a_ptr + ranks[:, None] * a_stride + columns[None, :], mask=a_mask, other=0.0)
            a_up = tl.load(a_ptr + (ranks + R)[:, None] * a_stride + columns[None, :], mask=a_mask, other=0.0)
            low_gate = tl.dot(weighted, tl.trans(a_gate), low_gate, input_precision=PRECISION)
            low_up = tl.dot(weighted, tl.trans(a_up), low_up, input_precision=PRECISION)
    inverse = tl.rsqrt(squares / INPUTS + eps)[:, None]
    gate, up = gate * inverse, up * inverse
    low_gate, low_up = low_gate * inverse, low_up * inverse
    if R > 0:
        gate = _with_adapter(
            gate, low_gate, w_ptr, gates, output_mask, w_stride, INPUTS, 0, R, RANKS, PRECISION
        )
        up = _with_adapter(up, low_up, w_ptr, ups, output_mask, w_stride, INPUTS, R, R, RANKS, PRECISION)
    if HAS_BIAS:
        gate += tl.load(bias_ptr + gates, mask=output_mask, other=0.0).to(tl.float32)[None, :]
        up += tl.load(bias_ptr + ups, mask=output_mask, other=0.0).to(tl.float32)[None, :]
    kind = x_ptr.dtype.element_ty
    gate = gate.to(kind).to(tl.float32)
    opened = (gate / (1.0 + tl.exp(-gate))).to(kind).to(tl.float32)
    result = (opened * up.to(kind).to(tl.float32)).to(kind)
    tl.store(
        out_ptr + rows[:, None] * F + gates[None, :], result, mask=row_mask[:, None] & output_mask[None, :]
    )
