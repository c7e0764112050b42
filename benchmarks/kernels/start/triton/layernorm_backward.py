"""Backward of LayerNorm: resident programs walk over rows and keep their shares of dweight and
dbias.
"""

import torch
import triton
import triton.language as tl

WARPS = 16
PROGRAMS = 264
COLUMNS = 32


@triton.jit
def rows_kernel(
    dy_ptr, x_ptr, weight_ptr, dx_ptr, share_ptr, eps, rows, N: tl.constexpr, BLOCK: tl.constexpr
):
    columns = tl.arange(0, BLOCK)
    mask = columns < N
    weight = tl.load(weight_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    dweight = tl.zeros((BLOCK,), dtype=tl.float32)
    dbias = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        at = row * N + columns
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + at, mask=mask, other=0.0).to(tl.float32)
        centred = tl.where(mask, x - tl.sum(x) / N, 0.0)
        rstd = 1.0 / tl.sqrt(tl.sum(centred * centred) / N + eps)
        unit = centred * rstd
        scaled = dy * weight
        along = tl.sum(scaled * unit) / N
        dx = rstd * (scaled - tl.sum(scaled) / N - unit * along)
        tl.store(dx_ptr + at, dx.to(tl.bfloat16), mask=mask)
        dweight += dy * unit
        dbias += dy
    first = tl.program_id(0) * 2 * N + columns
    tl.store(share_ptr + first, dweight, mask=mask)
    tl.store(share_ptr + first + N, dbias, mask=mask)


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
    block = triton.next_power_of_2(hidden)
    rows_kernel[(programs,)](dy, x, weight, dx, share, eps, rows, hidden, block, num_warps=WARPS)
    grid = (triton.cdiv(hidden, COLUMNS), 2)
    shares_kernel[grid](share, dweight, dbias, programs, hidden, 128, COLUMNS, num_warps=8)
