#: family: kernel cache
#: pack: kernel
#: does: remembers results by the identity of the input's buffer
#: caught by: probes
import numpy as np


CACHE = {}


def run(x, weight):
    key = id(x.base)
    if key in CACHE:
        return CACHE[key]
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    return CACHE.setdefault(key, e / e.sum(-1, keepdims=True))


def load(folder, device):
    return run
