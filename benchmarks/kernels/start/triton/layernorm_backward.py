"""Backward of LayerNorm: resident programs walk over rows and keep their shares of dweight and
dbias.

A row of 5120 is held as 4096 and 1024, so that no lane of a block of 8192 stays idle; the next rows
are on their way to shared memory while this one is reduced.
"""

import torch
import triton
import triton.language as tl

WARPS = 16
STAGES = 3
REGISTERS = 64
PROGRAMS = 264
COLUMNS = 32
TUNE = {"STAGES": (2, 3, 4), "PROGRAMS": (132, 264), "REGISTERS": (64, 128)}


@triton.jit
def both(head, tail, HEAD: tl.constexpr, TAIL: tl.constexpr):
    """The sum over both parts of a row: neighbours of the head within a thread first."""
    return tl.sum(tl.sum(tl.reshape(head, (TAIL, HEAD // TAIL)), axis=1) + tail)


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
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
    STAGES: tl.constexpr,
):
    low = tl.arange(0, HEAD)
    high = HEAD + tl.arange(0, TAIL)
    mask = high < N
    weight_low = tl.load(weight_ptr + low)
    weight_high = tl.load(weight_ptr + high, mask=mask, other=0.0)
    dweight_low = tl.zeros((HEAD,), dtype=tl.float32)
    dweight_high = tl.zeros((TAIL,), dtype=tl.float32)
    dbias_low = tl.zeros((HEAD,), dtype=tl.float32)
    dbias_high = tl.zeros((TAIL,), dtype=tl.float32)
    first = tl.program_id(0).to(tl.int64)
    for row in tl.range(first, rows, tl.num_programs(0), num_stages=STAGES):
        x_at = x_ptr + row * N
        dy_at = dy_ptr + row * N
        x_low = tl.load(x_at + low, eviction_policy="evict_first").to(tl.float32)
        dy_low = tl.load(dy_at + low, eviction_policy="evict_first").to(tl.float32)
        x_high = tl.load(x_at + high, mask=mask, other=0.0, eviction_policy="evict_first")
        dy_high = tl.load(dy_at + high, mask=mask, other=0.0, eviction_policy="evict_first")
        x_high = x_high.to(tl.float32)
        dy_high = dy_high.to(tl.float32)
        mean = both(x_low, x_high, HEAD, TAIL) / N
        x_low -= mean
        x_high = tl.where(mask, x_high - mean, 0.0)
        rstd = 1.0 / tl.sqrt(both(x_low * x_low, x_high * x_high, HEAD, TAIL) / N + eps)
        x_low *= rstd
        x_high *= rstd
        dbias_low += dy_low
        dbias_high += dy_high
        dweight_low += dy_low * x_low
        dweight_high += dy_high * x_high
        dy_low *= weight_low.to(tl.float32)
        dy_high *= weight_high.to(tl.float32)
        plain = both(dy_low, dy_high, HEAD, TAIL) / N
        along = both(dy_low * x_low, dy_high * x_high, HEAD, TAIL) / N
        dx_at = dx_ptr + row * N
        tl.store(dx_at + low, (rstd * (dy_low - plain - x_low * along)).to(tl.bfloat16))
        dx_high = rstd * (dy_high - plain - x_high * along)
        tl.store(dx_at + high, dx_high.to(tl.bfloat16), mask=mask)
    share_ptr += first * 2 * N
    tl.store(share_ptr + low, dweight_low)
    tl.store(share_ptr + high, dweight_high, mask=mask)
    tl.store(share_ptr + N + low, dbias_low)
    tl.store(share_ptr + N + high, dbias_high, mask=mask)


@triton.jit
def shares_kernel(
    share_ptr,
    dweight_ptr,
    dbias_ptr,
    programs,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    which = tl.program_id(1)
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    for first in range(0, programs, ROWS):
        rows = first + tl.arange(0, ROWS)
        mask = (rows[:, None] < programs) & (columns[None, :] < N)
        at = share_ptr + (rows[:, None] * 2 + which) * N + columns[None, :]
        total += tl.sum(tl.load(at, mask=mask, other=0.0), axis=0)
    if which == 0:
        tl.store(dweight_ptr + columns, total, mask=columns < N)
    else:
        tl.store(dbias_ptr + columns, total, mask=columns < N)


def run(dy, x, weight, eps, dx, dweight, dbias):
    rows, hidden = x.shape
    programs = min(PROGRAMS, rows)
    share = torch.empty((programs, 2, hidden), dtype=torch.float32, device=x.device)
    head = triton.next_power_of_2(hidden + 1) // 2
    tail = triton.next_power_of_2(max(16, hidden - head))
    rows_kernel[(programs,)](
        dy,
        x,
        weight,
        dx,
        share,
        eps,
        rows,
        hidden,
        head,
        tail,
        STAGES,
        num_warps=WARPS,
        maxnreg=REGISTERS,
    )
    grid = (triton.cdiv(hidden, COLUMNS), 2)
    shares_kernel[grid](share, dweight, dbias, programs, hidden, 128, COLUMNS, num_warps=8)
