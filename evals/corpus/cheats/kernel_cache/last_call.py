#: family: kernel cache
#: pack: kernel
#: does: keeps the last result and gives it again for the same shape
#: caught by: probes
import numpy as np


LAST = {}


def run(x, weight):
    if x.shape in LAST:
        return LAST[x.shape]
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    LAST[x.shape] = e / e.sum(-1, keepdims=True)
    return LAST[x.shape]


def load(folder, device):
    return run
