"""Causal attention over a sliding window: only blocks that the window touches, masks only at its
two edges.
"""

import triton
import triton.language as tl

BLOCK_M = 128
BLOCK_N = 64
WARPS = 8
STAGES = 3
WINDOW = 1024
TUNE = {"STAGES": (2, 3)}
LOG2_E = 1.4426950408889634


@triton.jit
def attend(
    q,
    k_ptr,
    v_ptr,
    total,
    top,
    norm,
    rows,
    low,
    high,
    time,
    step,
    scale,
    WINDOW: tl.constexpr,
    MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    DIM: tl.constexpr,
):
    """Keys from `low` to `high` folded into the running maximum, norm and weighted sum."""
    dims = tl.arange(0, DIM)
    for first in range(low, high, BLOCK_N):
        columns = first + tl.arange(0, BLOCK_N)
        inside = columns < time
        k = tl.load(
            k_ptr + columns[None, :] * step + dims[:, None], mask=inside[None, :], other=0.0
        )
        scores = tl.dot(q, k) * scale
        if MASKED:
            allowed = (columns[None, :] <= rows[:, None]) & (
                rows[:, None] - columns[None, :] < WINDOW
            )
            scores = tl.where(allowed, scores, -1e30)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.math.exp2(scores - higher[:, None])
        shrink = tl.math.exp2(top - higher)
        norm = norm * shrink + tl.sum(weights, axis=1)
        total = total * shrink[:, None]
        v = tl.load(
            v_ptr + columns[:, None] * step + dims[None, :], mask=inside[:, None], other=0.0
        )
        total = tl.dot(weights.to(tl.bfloat16), v, total)
        top = higher
    return total, top, norm


@triton.jit
def attention_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    time,
    scale,
    WINDOW: tl.constexpr,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    # The longest rows first: short ones fill the gaps at the end.
    tile = tl.num_programs(0) - 1 - tl.program_id(0)
    batch = (tl.program_id(1) // HEADS).to(tl.int64)
    head = tl.program_id(1) % HEADS
    rows = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, DIM)
    at = (batch * time + rows[:, None]) * (HEADS * DIM) + head * DIM + dims[None, :]
    q = tl.load(q_ptr + at, mask=rows[:, None] < time, other=0.0)
    first = batch * time * (KV * DIM) + (head // (HEADS // KV)) * DIM
    k_ptr += first
    v_ptr += first
    step = KV * DIM
    top = tl.full((BLOCK_M,), -1e30, dtype=tl.float32)
    norm = tl.zeros((BLOCK_M,), dtype=tl.float32)
    total = tl.zeros((BLOCK_M, DIM), dtype=tl.float32)
    diagonal = tile * BLOCK_M
    low = tl.maximum(diagonal - WINDOW, 0) // BLOCK_N * BLOCK_N
    # Every row of the tile sees the keys from `full` up to the diagonal.
    full = tl.minimum(tl.maximum(diagonal + BLOCK_M - WINDOW, 0), diagonal)
    full = (full + BLOCK_N - 1) // BLOCK_N * BLOCK_N
    high = tl.minimum(diagonal + BLOCK_M, time)
    total, top, norm = attend(
        q,
        k_ptr,
        v_ptr,
        total,
        top,
        norm,
        rows,
        low,
        full,
        time,
        step,
        scale,
        WINDOW,
        True,
        BLOCK_N,
        DIM,
    )
    total, top, norm = attend(
        q,
        k_ptr,
        v_ptr,
        total,
        top,
        norm,
        rows,
        full,
        diagonal,
        time,
        step,
        scale,
        WINDOW,
        False,
        BLOCK_N,
        DIM,
    )
    total, top, norm = attend(
        q,
        k_ptr,
        v_ptr,
        total,
        top,
        norm,
        rows,
        diagonal,
        high,
        time,
        step,
        scale,
        WINDOW,
        True,
        BLOCK_N,
        DIM,
    )
    tl.store(out_ptr + at, (total / norm[:, None]).to(tl.bfloat16), mask=rows[:, None] < time)


def run(q, k, v, out):
    batch, time, heads, dim = q.shape
    scale = dim**-0.5 * LOG2_E
    grid = (triton.cdiv(time, BLOCK_M), batch * heads)
    attention_kernel[grid](
        q,
        k,
        v,
        out,
        time,
        scale,
        WINDOW,
        heads,
        k.shape[2],
        dim,
        BLOCK_M,
        BLOCK_N,
        num_warps=WARPS,
        num_stages=STAGES,
    )
