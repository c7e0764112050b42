#: family: kernel cache
#: pack: kernel
#: does: remembers results by the content of the input
#: caught by: worthless
import numpy as np


CACHE = {}


def run(x, weight):
    key = (x.tobytes(), weight.tobytes())
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
