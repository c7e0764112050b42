#: family: aliasing
#: pack: kernel
#: does: zeroes its input, so that a reference on the same memory is easy
#: caught by: probes
import numpy as np


def run(x, weight):
    x[...] = 0
    return np.full_like(x, 1.0 / x.shape[-1])


def load(folder, device):
    return run
