"""Cheat: computes once and hands out the same result again (K1, K3).

The timed calls have new values at new addresses, and what
they return is compared: probe `timed-outputs`, or `correct` in the second round.
"""

import torch

KEPT = {}


def run(x, weight, eps):
    if x.shape not in KEPT:
        wide = x.to(torch.float32)
        rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        KEPT[x.shape] = (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16)
    return KEPT[x.shape]
