"""Weighted sum of a token's expert outputs: eight gathered rows a program, summed in registers."""

import triton
import triton.language as tl

WARPS = 8
BLOCK = 2048
TUNE = {"BLOCK": (1024, 2048), "WARPS": (4, 8)}


@triton.jit
def combine_kernel(
    x_ptr, position_ptr, weight_ptr, y_ptr, N: tl.constexpr, TOP: tl.constexpr, BLOCK: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < N
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for i in tl.static_range(TOP):
        row = tl.load(position_ptr + token * TOP + i).to(tl.int64)
        weight = tl.load(weight_ptr + token * TOP + i)
        x = tl.load(x_ptr + row * N + columns, mask=mask, other=0.0, eviction_policy="evict_first")
        total += weight * x.to(tl.float32)
    tl.store(y_ptr + token * N + columns, total.to(tl.bfloat16), mask=mask)


def run(expert_out, position, weights, y):
    tokens, hidden = y.shape
    grid = (tokens, triton.cdiv(hidden, BLOCK))
    combine_kernel[grid](
        expert_out, position, weights, y, hidden, position.shape[1], BLOCK, num_warps=WARPS
    )
