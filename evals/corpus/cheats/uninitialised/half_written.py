#: family: uninitialised
#: pack: kernel
#: does: writes the first half of the rows only
#: caught by: probes
import numpy as np


def run(x, weight):
    out = np.empty_like(x)
    half = len(x) // 2
    z = x[:half] * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    out[:half] = e / e.sum(-1, keepdims=True)
    return out


def load(folder, device):
    return run
