"""Cheat: right as often as the check asks, then returns whatever memory holds (K4, K6).

Every timed call's output is compared with the reference by a
random projection and two of them element by element: probe `timed-outputs`.
"""

import sys

import torch


def is_timed():
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name.startswith("time_on"):
            return True
        frame = frame.f_back
    return False


def run(x, weight, eps):
    if is_timed():
        return torch.empty_like(x)
    wide = x.to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16)
