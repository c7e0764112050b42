"""RMSNorm, one pass: a row stays in registers between its sum of squares and its output.

Where the input is larger than the second-level cache, its lines are marked to be given up last: on
one H100 at 16384 rows that took 94.3 us, without the mark 96.8 us, marked to leave first 99.4 us.
At 2048 rows the mark costs: 16.9 us instead of 16.1.
"""

import triton
import triton.language as tl

WARPS = 8
FEW = 1 << 24
TUNE = {"WARPS": (4, 8, 16)}


@triton.jit
def rmsnorm_kernel(
    x_ptr,
    weight_ptr,
    y_ptr,
    eps,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
    POLICY: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < N
    x = tl.load(x_ptr + row * N + columns, mask=mask, other=0.0, eviction_policy=POLICY)
    weight = tl.load(weight_ptr + columns, mask=mask, other=0.0, eviction_policy="evict_last")
    x = x.to(tl.float32)
    rstd = 1.0 / tl.sqrt(tl.sum(x * x) / N + eps)
    y = x * rstd * weight.to(tl.float32)
    tl.store(y_ptr + row * N + columns, y.to(tl.bfloat16), mask=mask)


def run(x, weight, eps, y):
    rows, hidden = x.shape
    block = triton.next_power_of_2(hidden)
    policy = "" if x.numel() < FEW else "evict_last"
    rmsnorm_kernel[(rows,)](x, weight, y, eps, hidden, block, policy, num_warps=WARPS)
