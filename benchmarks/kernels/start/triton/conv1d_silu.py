"""Causal depthwise convolution: a program walks along time and keeps the last three inputs in
registers.
"""

import triton
import triton.language as tl

WARPS = 4
CHANNELS = 512
TIME = 32


@triton.jit
def conv_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    time,
    N: tl.constexpr,
    CHANNELS: tl.constexpr,
    TIME: tl.constexpr,
):
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    first = tl.program_id(1) * TIME
    begin = tl.program_id(2).to(tl.int64) * time * N
    mask = columns < N
    w0 = tl.load(weight_ptr + columns * 4, mask=mask, other=0.0).to(tl.float32)
    w1 = tl.load(weight_ptr + columns * 4 + 1, mask=mask, other=0.0).to(tl.float32)
    w2 = tl.load(weight_ptr + columns * 4 + 2, mask=mask, other=0.0).to(tl.float32)
    w3 = tl.load(weight_ptr + columns * 4 + 3, mask=mask, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    place = (
        first - 3
    ) * N + columns  # an element's place in its sequence; negative before the beginning
    x0 = tl.load(x_ptr + begin + place, mask=mask & (place >= 0), other=0.0).to(tl.float32)
    x1 = tl.load(x_ptr + begin + place + N, mask=mask & (place + N >= 0), other=0.0).to(tl.float32)
    x2 = tl.load(x_ptr + begin + place + 2 * N, mask=mask & (place + 2 * N >= 0), other=0.0).to(
        tl.float32
    )
    place += 3 * N
    for _ in tl.static_range(TIME):
        inside = mask & (place < time * N)
        x3 = tl.load(x_ptr + begin + place, mask=inside, other=0.0).to(tl.float32)
        total = bias + x0 * w0 + x1 * w1 + x2 * w2 + x3 * w3
        tl.store(
            y_ptr + begin + place, (total / (1.0 + tl.exp(-total))).to(tl.bfloat16), mask=inside
        )
        x0 = x1
        x1 = x2
        x2 = x3
        place += N


def run(x, weight, bias, y):
    batch, time, channels = x.shape
    grid = (triton.cdiv(channels, CHANNELS), triton.cdiv(time, TIME), batch)
    conv_kernel[grid](x, weight, bias, y, time, channels, CHANNELS, TIME, num_warps=WARPS)
