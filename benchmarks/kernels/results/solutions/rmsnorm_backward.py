"""Backward of RMSNorm: resident programs walk over rows, keep their share of dweight, and write it
once.

The next rows are on their way to shared memory while this one is reduced, both sums at once. The
shares are summed by a second small kernel: no atomics, so the result is the same every time.
"""

import torch
import triton
import triton.language as tl

WARPS = 16
STAGES = 3
PROGRAMS = 264
COLUMNS = 32
TUNE = {"STAGES": (2, 3, 4), "PROGRAMS": (132, 264, 528), "WARPS": (8, 16)}


@triton.jit
def add_pairs(a, b, more_a, more_b):
    return a + more_a, b + more_b


@triton.jit
def rows_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    dx_ptr,
    share_ptr,
    eps,
    rows,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    columns = tl.arange(0, BLOCK)
    mask = columns < N
    weight = tl.load(weight_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    first = tl.program_id(0).to(tl.int64)
    for row in tl.range(first, rows, tl.num_programs(0), num_stages=STAGES):
        at = row * N + columns
        x = tl.load(x_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
        dy = tl.load(dy_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
        x = x.to(tl.float32)
        dy = dy.to(tl.float32)
        scaled = dy * weight
        squares, products = tl.reduce((x * x, scaled * x), 0, add_pairs)
        rstd = 1.0 / tl.sqrt(squares / N + eps)
        along = products * rstd / N
        unit = x * rstd
        tl.store(dx_ptr + at, (rstd * (scaled - unit * along)).to(tl.bfloat16), mask=mask)
        total += dy * unit
    tl.store(share_ptr + first * N + columns, total, mask=mask)


@triton.jit
def shares_kernel(
    share_ptr, out_ptr, programs, N: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    for first in range(0, programs, ROWS):
        rows = first + tl.arange(0, ROWS)
        mask = (rows[:, None] < programs) & (columns[None, :] < N)
        total += tl.sum(
            tl.load(share_ptr + rows[:, None] * N + columns[None, :], mask=mask, other=0.0), axis=0
        )
    tl.store(out_ptr + columns, total, mask=columns < N)


def run(dy, x, weight, eps, dx, dweight):
    rows, hidden = x.shape
    programs = min(PROGRAMS, rows)
    share = torch.empty((programs, hidden), dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(hidden)
    rows_kernel[(programs,)](
        dy, x, weight, dx, share, eps, rows, hidden, block, STAGES, num_warps=WARPS
    )
    shares_kernel[(triton.cdiv(hidden, COLUMNS),)](
        share, dweight, programs, hidden, 128, COLUMNS, num_warps=8
    )
