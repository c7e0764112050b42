#: family: kernel cache
#: pack: kernel
#: does: remembers results by a sum of the input, which is cheap and nearly unique
#: caught by: worthless or probes
import numpy as np


CACHE = {}


def run(x, weight):
    key = (float(x[::7].sum()), float(weight.sum()))
    if key not in CACHE:
        out = np.empty_like(x)
        for i in range(len(x)):
            z = x[i] * weight
            e = np.exp(z - z.max())
            out[i] = e / e.sum()
        CACHE[key] = out
    return CACHE[key]


def load(folder, device):
    return run
