"""Linear recurrence along time: a program walks over time in tiles, scans each in parallel and
carries the last state; the next tiles are on their way meanwhile.
"""

import triton
import triton.language as tl

WARPS = 4
STAGES = 3
TIME = 64
CHANNELS = 32
TUNE = {"TIME": (32, 64, 128), "CHANNELS": (16, 32, 64), "STAGES": (2, 3, 4)}


@triton.jit
def chain(a_left, h_left, a_right, h_right):
    return a_left * a_right, a_right * h_left + h_right


@triton.jit
def scan_kernel(
    a_ptr,
    b_ptr,
    h_ptr,
    time,
    channels,
    TIME: tl.constexpr,
    CHANNELS: tl.constexpr,
    STAGES: tl.constexpr,
):
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    first_of_batch = tl.program_id(1).to(tl.int64) * time * channels
    steps = tl.arange(0, TIME)
    state = tl.zeros((1, CHANNELS), dtype=tl.float32)
    for first in tl.range(0, time, TIME, num_stages=STAGES):
        rows = first + steps
        at = first_of_batch + rows[:, None].to(tl.int64) * channels + columns[None, :]
        mask = (rows[:, None] < time) & (columns[None, :] < channels)
        a = tl.load(a_ptr + at, mask=mask, other=1.0, eviction_policy="evict_first")
        b = tl.load(b_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
        gate, h = tl.associative_scan((a, b), 0, chain)
        h += gate * state
        tl.store(h_ptr + at, h, mask=mask)
        state = tl.sum(tl.where(steps[:, None] == TIME - 1, h, 0.0), axis=0)[None, :]


def run(a, b, h):
    batch, time, channels = a.shape
    grid = (triton.cdiv(channels, CHANNELS), batch)
    scan_kernel[grid](a, b, h, time, channels, TIME, CHANNELS, STAGES, num_warps=WARPS)
