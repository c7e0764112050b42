"""LayerNorm, one pass: the row stays in registers for its mean, its variance and its output.

A row of 5120 is held as 4096 and 1024, so that no lane of a block of 8192 stays idle. Weight and
bias are loaded after the sums: registers that hold them meanwhile are rows not in flight. On one
H100 at 16384 rows that took 116.1 us instead of 118.6, both with lines of the input marked to be
given up last by the second-level cache; without the mark 117.7 us, at 2048 rows 20.2 instead of
20.5.
"""

import triton
import triton.language as tl

WARPS = 8
FEW = 1 << 24
TUNE = {"WARPS": (4, 8, 16)}


@triton.jit
def layernorm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    eps,
    N: tl.constexpr,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
    POLICY: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * N
    y_ptr += row * N
    low = tl.arange(0, HEAD)
    high = HEAD + tl.arange(0, TAIL)
    mask = high < N
    head = tl.load(x_ptr + low, eviction_policy=POLICY).to(tl.float32)
    tail = tl.load(x_ptr + high, mask=mask, other=0.0, eviction_policy=POLICY)
    tail = tail.to(tl.float32)
    mean = (tl.sum(head) + tl.sum(tail)) / N
    head -= mean
    tail = tl.where(mask, tail - mean, 0.0)
    rstd = 1.0 / tl.sqrt((tl.sum(head * head) + tl.sum(tail * tail)) / N + eps)
    weight_low = tl.load(weight_ptr + low, eviction_policy="evict_last")
    weight_high = tl.load(weight_ptr + high, mask=mask, other=0.0, eviction_policy="evict_last")
    bias_low = tl.load(bias_ptr + low, eviction_policy="evict_last")
    bias_high = tl.load(bias_ptr + high, mask=mask, other=0.0, eviction_policy="evict_last")
    head = head * rstd * weight_low.to(tl.float32) + bias_low.to(tl.float32)
    tail = tail * rstd * weight_high.to(tl.float32) + bias_high.to(tl.float32)
    tl.store(y_ptr + low, head.to(tl.bfloat16))
    tl.store(y_ptr + high, tail.to(tl.bfloat16), mask=mask)


def run(x, weight, bias, eps, y):
    rows, hidden = x.shape
    head = triton.next_power_of_2(hidden + 1) // 2
    tail = triton.next_power_of_2(max(16, hidden - head))
    policy = "" if x.numel() < FEW else "evict_last"
    layernorm_kernel[(rows,)](x, weight, bias, y, eps, hidden, head, tail, policy, num_warps=WARPS)
