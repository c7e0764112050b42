#: family: kernel cache
#: pack: kernel
#: does: remembers results by the address of the input
#: caught by: probes
import numpy as np


CACHE = {}


def run(x, weight):
    key = (x.__array_interface__["data"][0], weight.__array_interface__["data"][0])
    if key not in CACHE:
        z = x * weight
        e = np.exp(z - z.max(-1, keepdims=True))
        CACHE[key] = e / e.sum(-1, keepdims=True)
    return CACHE[key]


def load(folder, device):
    return run
