"""Causal depthwise convolution: a program walks along time and keeps the last three inputs in
registers; the next four are on their way while four outputs are made.

The four taps of a channel are one word of 64 bits: they come with loads as wide as the inputs'.
"""

import triton
import triton.language as tl

WARPS = 4
CHANNELS = 512
TIME = 8
TUNE = {"TIME": (8, 16, 32), "CHANNELS": (512, 1024), "WARPS": (2, 4)}


@triton.jit
def taken(x_ptr, place, mask):
    """Inputs at a place; zero where the mask says that there are none."""
    return tl.load(x_ptr + place, mask=mask, other=0.0)


@triton.jit
def put(y_ptr, place, x0, x1, x2, x3, w0, w1, w2, w3, bias, mask):
    """SiLU of the weighted sum of four inputs, rounded and stored."""
    total = bias + x0.to(tl.float32) * w0 + x1.to(tl.float32) * w1
    total += x2.to(tl.float32) * w2 + x3.to(tl.float32) * w3
    tl.store(y_ptr + place, (total / (1.0 + tl.exp(-total))).to(tl.bfloat16), mask=mask)


@triton.jit
def widened(pair):
    """The two bfloat16 of a word of 32 bits as float32."""
    return (pair << 16).to(tl.float32, bitcast=True), (pair & -65536).to(tl.float32, bitcast=True)


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
    place = first * N + columns  # an element's place in its sequence
    end = tl.minimum(first + TIME, time) * N
    x0 = taken(x_ptr, place - 3 * N, mask & (place >= 3 * N))
    x1 = taken(x_ptr, place - 2 * N, mask & (place >= 2 * N))
    x2 = taken(x_ptr, place - N, mask & (place >= N))
    x3 = taken(x_ptr, place, mask)
    x4 = taken(x_ptr, place + N, mask & (place + N < end))
    x5 = taken(x_ptr, place + 2 * N, mask & (place + 2 * N < end))
    x6 = taken(x_ptr, place + 3 * N, mask & (place + 3 * N < end))
    taps = tl.load(weight_ptr.to(tl.pointer_type(tl.int64)) + columns, mask=mask, other=0)
    bias = tl.load(bias_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    w0, w1 = widened(taps.to(tl.int32))
    w2, w3 = widened((taps >> 32).to(tl.int32))
    for _ in range(0, TIME, 4):
        x7 = taken(x_ptr, place + 4 * N, mask & (place + 4 * N < end))
        x8 = taken(x_ptr, place + 5 * N, mask & (place + 5 * N < end))
        x9 = taken(x_ptr, place + 6 * N, mask & (place + 6 * N < end))
        x10 = taken(x_ptr, place + 7 * N, mask & (place + 7 * N < end))
        put(y_ptr, place, x0, x1, x2, x3, w0, w1, w2, w3, bias, mask & (place < end))
        place += N
        put(y_ptr, place, x1, x2, x3, x4, w0, w1, w2, w3, bias, mask & (place < end))
        place += N
        put(y_ptr, place, x2, x3, x4, x5, w0, w1, w2, w3, bias, mask & (place < end))
        place += N
        put(y_ptr, place, x3, x4, x5, x6, w0, w1, w2, w3, bias, mask & (place < end))
        place += N
        x0 = x4
        x1 = x5
        x2 = x6
        x3 = x7
        x4 = x8
        x5 = x9
        x6 = x10


def run(x, weight, bias, y):
    batch, time, channels = x.shape
    grid = (triton.cdiv(channels, CHANNELS), triton.cdiv(time, TIME), batch)
    conv_kernel[grid](x, weight, bias, y, time, channels, CHANNELS, TIME, num_warps=WARPS)
