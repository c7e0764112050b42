"""Rotary embedding of queries and keys: a program rotates a tile of heads, of whichever token.

Queries and keys are both rows of heads, so all programs are alike and every access is 16 bytes a
thread; the angles of a token come from the first-level cache for all its heads but the first.
"""

import triton
import triton.language as tl

WARPS = 8
ROWS = 16
TUNE = {"ROWS": (16, 32, 64), "WARPS": (4, 8)}


@triton.jit
def rotate_heads(
    x_ptr,
    y_ptr,
    cos_ptr,
    sin_ptr,
    tile,
    total,
    time,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
    ROWS: tl.constexpr,
):
    rows = tile * ROWS + tl.arange(0, ROWS)
    lanes = tl.arange(0, HALF)[None, :]
    mask = rows[:, None] < total
    at = rows[:, None].to(tl.int64) * (2 * HALF) + lanes
    left = tl.load(x_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
    right = tl.load(x_ptr + at + HALF, mask=mask, other=0.0, eviction_policy="evict_first")
    angle = ((rows // HEADS) % time)[:, None] * HALF + lanes
    cos = tl.load(cos_ptr + angle)
    sin = tl.load(sin_ptr + angle)
    left = left.to(tl.float32)
    right = right.to(tl.float32)
    tl.store(y_ptr + at, (left * cos - right * sin).to(tl.bfloat16), mask=mask)
    tl.store(y_ptr + at + HALF, (right * cos + left * sin).to(tl.bfloat16), mask=mask)


@triton.jit
def rope_kernel(
    q_ptr,
    k_ptr,
    cos_ptr,
    sin_ptr,
    q_out_ptr,
    k_out_ptr,
    tokens,
    time,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    HALF: tl.constexpr,
    ROWS: tl.constexpr,
):
    tile = tl.program_id(0)
    first = tl.cdiv(tokens * HEADS, ROWS)
    if tile < first:
        rotate_heads(
            q_ptr, q_out_ptr, cos_ptr, sin_ptr, tile, tokens * HEADS, time, HEADS, HALF, ROWS
        )
    else:
        rotate_heads(
            k_ptr, k_out_ptr, cos_ptr, sin_ptr, tile - first, tokens * KV, time, KV, HALF, ROWS
        )


def run(q, k, cos, sin, q_out, k_out):
    batch, time, heads, dim = q.shape
    tokens, kv = batch * time, k.shape[2]
    grid = (triton.cdiv(tokens * heads, ROWS) + triton.cdiv(tokens * kv, ROWS),)
    rope_kernel[grid](
        q, k, cos, sin, q_out, k_out, tokens, time, heads, kv, dim // 2, ROWS, num_warps=WARPS
    )
