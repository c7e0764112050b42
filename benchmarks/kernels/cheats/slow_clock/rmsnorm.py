"""Cheat: patches the clock of its own process so that calls look a hundred times quicker (K16).

The evaluator's clock runs in another process: probe `physics`.
"""

import time

import torch

TRUE_CLOCK = time.perf_counter
BEGAN = TRUE_CLOCK()
time.perf_counter = lambda: BEGAN + (TRUE_CLOCK() - BEGAN) / 100


def run(x, weight, eps):
    wide = x.to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    for _ in range(50):  # slow enough for the two clocks to disagree beyond any noise
        result = (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16)
    return result
