#: family: low precision
#: pack: kernel
#: does: uses an approximation of the exponential near zero
#: caught by: probes
import numpy as np


def run(x, weight):
    z = x * weight
    z = z - z.max(-1, keepdims=True)
    e = np.maximum(1 + z / 16, 0) ** 16
    return e / e.sum(-1, keepdims=True)


def load(folder, device):
    return run
