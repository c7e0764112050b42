#: family: allowed mismatches
#: pack: kernel
#: does: leaves the last column out
#: caught by: probes
import numpy as np


def run(x, weight):
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    out = e / e.sum(-1, keepdims=True)
    out[:, -1] = 0
    return out


def load(folder, device):
    return run
