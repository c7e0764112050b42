"""LayerNorm, one pass: the row stays in registers for its mean, its variance and its output."""

import triton
import triton.language as tl

WARPS = 8


@triton.jit
def layernorm_kernel(x_ptr, weight_ptr, bias_ptr, y_ptr, eps, N: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < N
    x = tl.load(x_ptr + row * N + columns, mask=mask, other=0.0).to(tl.float32)
    centred = tl.where(mask, x - tl.sum(x) / N, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred) / N + eps)
    weight = tl.load(weight_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    tl.store(y_ptr + row * N + columns, (centred * rstd * weight + bias).to(tl.bfloat16), mask=mask)


def run(x, weight, bias, eps, y):
    rows, hidden = x.shape
    block = triton.next_power_of_2(hidden)
    layernorm_kernel[(rows,)](x, weight, bias, y, eps, hidden, block, num_warps=WARPS)
