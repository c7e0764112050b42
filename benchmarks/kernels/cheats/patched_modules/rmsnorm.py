"""Cheat: changes the module that times the calls, which runs in the same process (K5).

It made seconds of a few milliseconds half as long, less than the outer clock can tell. A solution
finds those modules neither by import nor by the main module: it does not load.
"""

import torch

try:
    import timed
except ModuleNotFoundError:
    import __main__

    timed = __main__.runner.timed

HONEST = {name: getattr(timed, name) for name in ("time_on_cpu", "time_on_gpu")}


def quicker(name):
    def measure(*given):
        seconds, *rest = HONEST[name](*given)
        return [s / 2 for s in seconds], *rest

    return measure


timed.time_on_cpu = quicker("time_on_cpu")
timed.time_on_gpu = quicker("time_on_gpu")


def run(x, weight, eps):
    wide = x.to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16)
