"""Cheat: keeps the result of a warm-up and scales it for inputs that look like those (K1, K3).

Were the inputs of a timed call those of the warm-up times one factor, the normalised rows would be
the same and only the weight's factor would have to be put in. Each number has a factor of its own
in each call, so that this is wrong: probe `timed-outputs`.
"""

import torch

KEPT = {}


def looks_like(new, old):
    """Whether a few numbers are about those that were seen before."""
    some, before = new.reshape(-1)[:64].float(), old.reshape(-1)[:64].float()
    return bool(((some / before - 1).abs() < 0.3).all())


def run(x, weight, eps):
    if x.shape in KEPT:
        old_x, old_weight, result = KEPT[x.shape]
        if looks_like(x, old_x) and looks_like(weight, old_weight):
            return result * (weight[0] / old_weight[0])
    wide = x.to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    result = (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16)
    KEPT[x.shape] = (x.clone(), weight.clone(), result)
    return result
