"""Dynamic int8 quantisation: the row stays in registers between its maximum and its codes."""

import triton
import triton.language as tl

WARPS = 8
TUNE = {"WARPS": (4, 8, 16)}
ROUNDER = 12582912.0  # adding and subtracting 1.5 * 2**23 rounds to the nearest even integer


@triton.jit
def int8_kernel(x_ptr, q_ptr, scale_ptr, rounder, N: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < N
    x = tl.load(x_ptr + row * N + columns, mask=mask, other=0.0, eviction_policy="evict_first")
    x = x.to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x)), 1e-8) / 127.0
    codes = (x / scale + rounder) - rounder
    tl.store(q_ptr + row * N + columns, codes.to(tl.int8), mask=mask)
    tl.store(scale_ptr + row, scale)


def run(x, q, scale):
    rows, hidden = x.shape
    int8_kernel[(rows,)](
        x, q, scale, ROUNDER, hidden, triton.next_power_of_2(hidden), num_warps=WARPS
    )
