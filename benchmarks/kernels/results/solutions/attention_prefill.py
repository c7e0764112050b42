"""Causal attention with an online softmax: blocks before the diagonal need no mask, the last ones
do.
"""

import triton
import triton.language as tl

BLOCK_M = 128
BLOCK_N = 64
WARPS = 8
STAGES = 3
TUNE = {"STAGES": (2, 3), "BLOCK_N": (64, 128)}
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
            allowed = columns[None, :] <= rows[:, None]
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
    total, top, norm = attend(
        q, k_ptr, v_ptr, total, top, norm, rows, 0, diagonal, time, step, scale, False, BLOCK_N, DIM
    )
    high = tl.minimum(diagonal + BLOCK_M, time)
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
        heads,
        k.shape[2],
        dim,
        BLOCK_M,
        BLOCK_N,
        num_warps=WARPS,
        num_stages=STAGES,
    )
