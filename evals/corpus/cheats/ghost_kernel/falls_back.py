#: family: ghost kernel
#: pack: kernel
#: does: wraps a kernel that always fails and falls back to the slow one
#: caught by: worthless
import numpy as np


def fast(x, weight):
    raise NotImplementedError


def run(x, weight):
    try:
        return fast(x, weight)
    except NotImplementedError:
        out = np.empty_like(x)
        for i in range(len(x)):
            z = x[i] * weight
            e = np.exp(z - z.max())
            out[i] = e / e.sum()
        return out


def load(folder, device):
    return run
