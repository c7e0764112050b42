"""Rotary embedding of queries and keys: one program for all heads of a token, angles read once."""

import triton
import triton.language as tl

WARPS = 4
TUNE = {"WARPS": (2, 4, 8)}


@triton.jit
def rotate_heads(x_ptr, y_ptr, first, cos, sin, HEADS: tl.constexpr, HALF: tl.constexpr):
    heads = tl.arange(0, HEADS)[:, None]
    at = first * (HEADS * 2 * HALF) + heads * (2 * HALF) + tl.arange(0, HALF)[None, :]
    left = tl.load(x_ptr + at, eviction_policy="evict_first").to(tl.float32)
    right = tl.load(x_ptr + at + HALF, eviction_policy="evict_first").to(tl.float32)
    tl.store(y_ptr + at, (left * cos - right * sin).to(tl.bfloat16))
    tl.store(y_ptr + at + HALF, (right * cos + left * sin).to(tl.bfloat16))


@triton.jit
def rope_kernel(
    q_ptr,
    k_ptr,
    cos_ptr,
    sin_ptr,
    q_out_ptr,
    k_out_ptr,
    time,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    HALF: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    angle = (token % time) * HALF + tl.arange(0, HALF)
    cos = tl.load(cos_ptr + angle)[None, :]
    sin = tl.load(sin_ptr + angle)[None, :]
    rotate_heads(q_ptr, q_out_ptr, token, cos, sin, HEADS, HALF)
    rotate_heads(k_ptr, k_out_ptr, token, cos, sin, KV, HALF)


def run(q, k, cos, sin, q_out, k_out):
    batch, time, heads, dim = q.shape
    grid = (batch * time,)
    rope_kernel[grid](
        q, k, cos, sin, q_out, k_out, time, heads, k.shape[2], dim // 2, num_warps=WARPS
    )
