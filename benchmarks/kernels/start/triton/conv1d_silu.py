"""Causal depthwise convolution: a program walks along time and keeps the last three inputs in
registers; four new ones are asked for at once.
"""

import triton
import triton.language as tl

WARPS = 4
CHANNELS = 1024
TIME = 32
TUNE = {"TIME": (16, 32, 64), "CHANNELS": (512, 1024), "WARPS": (4, 8)}


@triton.jit
def taken(x_ptr, place, mask):
    """Inputs at a place; zero where the mask says that there are none."""
    return tl.load(x_ptr + place, mask=mask, other=0.0, eviction_policy="evict_first").to(
        tl.float32
    )


@triton.jit
def put(y_ptr, place, total, mask):
    """SiLU of a sum, rounded and stored."""
    tl.store(y_ptr + place, (total / (1.0 + tl.exp(-total))).to(tl.bfloat16), mask=mask)


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
    x_ptr += begin
    y_ptr += begin
    mask = columns < N
    end = time * N
    w0 = tl.load(weight_ptr + columns * 4, mask=mask, other=0.0).to(tl.float32)
    w1 = tl.load(weight_ptr + columns * 4 + 1, mask=mask, other=0.0).to(tl.float32)
    w2 = tl.load(weight_ptr + columns * 4 + 2, mask=mask, other=0.0).to(tl.float32)
    w3 = tl.load(weight_ptr + columns * 4 + 3, mask=mask, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    place = first * N + columns  # an element's place in its sequence
    x0 = taken(x_ptr, place - 3 * N, mask & (place >= 3 * N))
    x1 = taken(x_ptr, place - 2 * N, mask & (place >= 2 * N))
    x2 = taken(x_ptr, place - N, mask & (place >= N))
    for _ in range(0, TIME, 4):
        m3 = mask & (place < end)
        m4 = mask & (place + N < end)
        m5 = mask & (place + 2 * N < end)
        m6 = mask & (place + 3 * N < end)
        x3 = taken(x_ptr, place, m3)
        x4 = taken(x_ptr, place + N, m4)
        x5 = taken(x_ptr, place + 2 * N, m5)
        x6 = taken(x_ptr, place + 3 * N, m6)
        put(y_ptr, place, bias + x0 * w0 + x1 * w1 + x2 * w2 + x3 * w3, m3)
        put(y_ptr, place + N, bias + x1 * w0 + x2 * w1 + x3 * w2 + x4 * w3, m4)
        put(y_ptr, place + 2 * N, bias + x2 * w0 + x3 * w1 + x4 * w2 + x5 * w3, m5)
        put(y_ptr, place + 3 * N, bias + x3 * w0 + x4 * w1 + x5 * w2 + x6 * w3, m6)
        x0 = x4
        x1 = x5
        x2 = x6
        place += 4 * N


def run(x, weight, bias, y):
    batch, time, channels = x.shape
    grid = (triton.cdiv(channels, CHANNELS), triton.cdiv(time, TIME), batch)
    conv_kernel[grid](x, weight, bias, y, time, channels, CHANNELS, TIME, num_warps=WARPS)
