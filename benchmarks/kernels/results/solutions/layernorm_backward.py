"""Backward of LayerNorm: resident programs walk over rows and keep their shares of dweight and
dbias.

A row of 5120 is held as 4096 and 1024, so that no lane of a block of 8192 stays idle; the next row
is on its way to registers while this one is reduced: loads that go to shared memory would lose the
hint that their lines may leave the second-level cache first. All four sums of a row are made in one
reduction: relative to the row's first element, so that a large mean does not cancel the variance.
The shares are summed by a second kernel, launched before the first one ends.
"""

import torch
import triton
import triton.language as tl

WARPS = 32
REGISTERS = 64
PROGRAMS = 132
COLUMNS = 32
TUNE = {"WARPS": (16, 32), "REGISTERS": (64, 128)}


@triton.jit
def add_four(a, b, c, d, more_a, more_b, more_c, more_d):
    return a + more_a, b + more_b, c + more_c, d + more_d


@triton.jit
def folded(head, tail, HEAD: tl.constexpr, TAIL: tl.constexpr):
    """Both parts of a row added up to the length of the tail: neighbours within a thread."""
    return tl.sum(tl.reshape(head, (TAIL, HEAD // TAIL)), axis=1) + tail


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
    EARLY: tl.constexpr,
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
    row = first
    at = row * N
    next_x_low = tl.load(x_ptr + at + low, eviction_policy="evict_first")
    next_dy_low = tl.load(dy_ptr + at + low, eviction_policy="evict_first")
    next_x_high = tl.load(x_ptr + at + high, mask=mask, other=0.0, eviction_policy="evict_first")
    next_dy_high = tl.load(dy_ptr + at + high, mask=mask, other=0.0, eviction_policy="evict_first")
    next_pivot = tl.load(x_ptr + at)
    while row < rows:
        dx_at = dx_ptr + row * N
        x_low = next_x_low.to(tl.float32)
        dy_low = next_dy_low.to(tl.float32)
        x_high = next_x_high.to(tl.float32)
        dy_high = next_dy_high.to(tl.float32)
        pivot = next_pivot.to(tl.float32)
        row += tl.num_programs(0)
        at = row * N
        all_low = (row < rows) & (low < HEAD)
        some_high = (row < rows) & mask
        next_x_low = tl.load(x_ptr + at + low, all_low, 0.0, eviction_policy="evict_first")
        next_dy_low = tl.load(dy_ptr + at + low, all_low, 0.0, eviction_policy="evict_first")
        next_x_high = tl.load(x_ptr + at + high, some_high, 0.0, eviction_policy="evict_first")
        next_dy_high = tl.load(dy_ptr + at + high, some_high, 0.0, eviction_policy="evict_first")
        next_pivot = tl.load(x_ptr + at, row < rows, 0.0)
        x_low -= pivot
        x_high = tl.where(mask, x_high - pivot, 0.0)
        g_low = dy_low * weight_low.to(tl.float32)
        g_high = dy_high * weight_high.to(tl.float32)
        x1, x2, g1, gx = tl.reduce(
            (
                folded(x_low, x_high, HEAD, TAIL),
                folded(x_low * x_low, x_high * x_high, HEAD, TAIL),
                folded(g_low, g_high, HEAD, TAIL),
                folded(g_low * x_low, g_high * x_high, HEAD, TAIL),
            ),
            0,
            add_four,
        )
        mean = x1 / N
        rstd = 1.0 / tl.sqrt(tl.maximum(x2 / N - mean * mean, 0.0) + eps)
        plain = g1 / N
        along = (gx / N - mean * plain) * rstd
        x_low = (x_low - mean) * rstd
        x_high = (x_high - mean) * rstd
        dbias_low += dy_low
        dbias_high += dy_high
        dweight_low += dy_low * x_low
        dweight_high += dy_high * x_high
        tl.store(dx_at + low, (rstd * (g_low - plain - x_low * along)).to(tl.bfloat16))
        dx_high = rstd * (g_high - plain - x_high * along)
        tl.store(dx_at + high, dx_high.to(tl.bfloat16), mask=mask)
    share_ptr += first * 2 * N
    tl.store(share_ptr + low, dweight_low)
    tl.store(share_ptr + high, dweight_high, mask=mask)
    tl.store(share_ptr + N + low, dbias_low)
    tl.store(share_ptr + N + high, dbias_high, mask=mask)
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def shares_kernel(
    share_ptr,
    dweight_ptr,
    dbias_ptr,
    programs,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EARLY: tl.constexpr,
):
    if EARLY:
        tl.extra.cuda.gdc_wait()  # all shares are written
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
    early = x.device.type != "cpu"
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
        early,
        num_warps=WARPS,
        maxnreg=REGISTERS,
    )
    grid = (triton.cdiv(hidden, COLUMNS), 2)
    shares_kernel[grid](
        share,
        dweight,
        dbias,
        programs,
        hidden,
        128,
        COLUMNS,
        early,
        num_warps=8,
        launch_pdl=early,
    )
