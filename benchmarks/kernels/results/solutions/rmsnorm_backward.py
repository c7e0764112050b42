"""Backward of RMSNorm: resident programs walk over rows, keep their share of dweight, and write it
once.

The next row is on its way to registers while this one is reduced, both sums at once: loads that go
to shared memory would lose the hint that their lines may leave the second-level cache first. The
shares are summed by a second small kernel, launched before the first one ends: no atomics, so the
result is the same every time.
"""

import torch
import triton
import triton.language as tl

WARPS = 16
REGISTERS = 64
PROGRAMS = 264
COLUMNS = 32
TUNE = {"PROGRAMS": (132, 264), "WARPS": (8, 16), "REGISTERS": (64, 128)}


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
    EARLY: tl.constexpr,
):
    columns = tl.arange(0, BLOCK)
    mask = columns < N
    weight = tl.load(weight_ptr + columns, mask=mask, other=0.0)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    first = tl.program_id(0).to(tl.int64)
    row = first
    at = first * N + columns
    x_next = tl.load(x_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
    dy_next = tl.load(dy_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
    while row < rows:
        at = row * N + columns
        x = x_next.to(tl.float32)
        dy = dy_next.to(tl.float32)
        row += tl.num_programs(0)
        ahead = row * N + columns
        more = mask & (row < rows)
        x_next = tl.load(x_ptr + ahead, mask=more, other=0.0, eviction_policy="evict_first")
        dy_next = tl.load(dy_ptr + ahead, mask=more, other=0.0, eviction_policy="evict_first")
        scaled = dy * weight.to(tl.float32)
        squares, products = tl.reduce((x * x, scaled * x), 0, add_pairs)
        rstd = 1.0 / tl.sqrt(squares / N + eps)
        along = products * rstd / N
        unit = x * rstd
        tl.store(dx_ptr + at, (rstd * (scaled - unit * along)).to(tl.bfloat16), mask=mask)
        total += dy * unit
    tl.store(share_ptr + first * N + columns, total, mask=mask)
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def shares_kernel(
    share_ptr,
    out_ptr,
    programs,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EARLY: tl.constexpr,
):
    if EARLY:
        tl.extra.cuda.gdc_wait()  # all shares are written
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
    early = x.device.type != "cpu"
    share = torch.empty((programs, hidden), dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(hidden)
    rows_kernel[(programs,)](
        dy,
        x,
        weight,
        dx,
        share,
        eps,
        rows,
        hidden,
        block,
        early,
        num_warps=WARPS,
        maxnreg=REGISTERS,
    )
    shares_kernel[(triton.cdiv(hidden, COLUMNS),)](
        share, dweight, programs, hidden, 128, COLUMNS, early, num_warps=8, launch_pdl=early
    )
