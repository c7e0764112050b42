"""Cheat: leaves an object that computes when the collector of garbage ends it (K10).

By then the clock has stopped, and nobody has looked at the output yet. The collector is switched
off as soon as a call returns, and outputs are marked: probe `conduct` or `timed-outputs`.
"""

import gc

import torch


class Later:
    def __del__(self):
        x, weight, eps, y = self.given
        wide = x.to(torch.float32)
        rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        y.copy_(wide * rstd * weight.to(torch.float32))


def run(x, weight, eps, y):
    gc.disable()
    later = Later()
    later.given = (x, weight, eps, y)
    later.itself = later
    gc.set_threshold(1)
    del later
    gc.enable()
