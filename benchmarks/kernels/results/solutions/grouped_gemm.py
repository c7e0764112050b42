"""Products of sorted tokens with their experts' weights in one launch.

A program finds its expert from the offsets on the device: no size travels to the host. Programs
that share
a strip of weights run side by side, so that the weights come from memory once.
"""

import triton
import triton.language as tl

BLOCK_M = 128
BLOCK_FEW = 64
BLOCK_N = 128
BLOCK_K = 64
WARPS = 8
STAGES = 4
TUNE = {"BLOCK_N": (128, 256), "BLOCK_M": (64, 128), "STAGES": (3, 4, 5)}


@triton.jit
def grouped_kernel(
    x_ptr,
    w_ptr,
    offsets_ptr,
    y_ptr,
    experts,
    n,
    K: tl.constexpr,
    EXPERTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    strips = tl.cdiv(n, BLOCK_N)
    tile = tl.program_id(0) // strips
    strip = tl.program_id(0) % strips
    index = tl.arange(0, EXPERTS)
    starts = tl.load(offsets_ptr + index, mask=index < experts, other=0)
    ends = tl.load(offsets_ptr + index + 1, mask=index < experts, other=0)
    tiles = tl.cdiv(ends - starts, BLOCK_M)
    before = tl.cumsum(tiles, axis=0)
    expert = tl.sum((before <= tile).to(tl.int32), axis=0)
    if expert >= experts:
        return
    mine = index == expert
    first_tile = tl.sum(tl.where(mine, before - tiles, 0), axis=0)
    start = tl.sum(tl.where(mine, starts, 0), axis=0) + (tile - first_tile) * BLOCK_M
    end = tl.sum(tl.where(mine, ends, 0), axis=0)
    rows = start + tl.arange(0, BLOCK_M)
    columns = strip * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    x_at = x_ptr + rows[:, None].to(tl.int64) * K + inner[None, :]
    w_at = w_ptr + expert.to(tl.int64) * n * K + columns[None, :].to(tl.int64) * K + inner[:, None]
    row_mask = rows[:, None] < end
    column_mask = columns[None, :] < n
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for first in range(0, K, BLOCK_K):
        x = tl.load(x_at + first, mask=row_mask, other=0.0)
        w = tl.load(w_at + first, mask=column_mask, other=0.0)
        total = tl.dot(x, w, total)
    at = y_ptr + rows[:, None].to(tl.int64) * n + columns[None, :]
    tl.store(at, total.to(tl.bfloat16), mask=row_mask & column_mask)


def run(x, weight, offsets, y):
    tokens, k = x.shape
    experts, n, _ = weight.shape
    rows = BLOCK_FEW if tokens < experts * BLOCK_M else BLOCK_M
    grid = ((triton.cdiv(tokens, rows) + experts) * triton.cdiv(n, BLOCK_N),)
    groups = triton.next_power_of_2(experts)
    grouped_kernel[grid](
        x,
        weight,
        offsets,
        y,
        experts,
        n,
        k,
        groups,
        rows,
        BLOCK_N,
        BLOCK_K,
        num_warps=WARPS,
        num_stages=STAGES,
    )
