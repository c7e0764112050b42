"""Weighted sum of a token's expert outputs: eight gathered rows a program, summed in registers.

The positions and weights of a token are two loads; the rows' loads then leave all at once.
"""

import triton
import triton.language as tl

WARPS = 8
BLOCK = 2048
TUNE = {"BLOCK": (1024, 2048), "WARPS": (4, 8)}


@triton.jit
def combine_kernel(
    x_ptr,
    position_ptr,
    weight_ptr,
    y_ptr,
    N: tl.constexpr,
    TOP: tl.constexpr,
    PICKS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    picks = tl.arange(0, PICKS)
    row = tl.load(position_ptr + token * TOP + picks, mask=picks < TOP, other=0)
    weight = tl.load(weight_ptr + token * TOP + picks, mask=picks < TOP, other=0.0)
    at = row[:, None].to(tl.int64) * N + columns[None, :]
    mask = (picks < TOP)[:, None] & (columns < N)[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
    total = tl.sum(weight[:, None] * x.to(tl.float32), axis=0)
    tl.store(y_ptr + token * N + columns, total.to(tl.bfloat16), mask=columns < N)


def run(expert_out, position, weights, y):
    tokens, hidden = y.shape
    top = position.shape[1]
    grid = (tokens, triton.cdiv(hidden, BLOCK))
    combine_kernel[grid](
        expert_out,
        position,
        weights,
        y,
        hidden,
        top,
        triton.next_power_of_2(top),
        BLOCK,
        num_warps=WARPS,
    )
