#: family: honest
#: pack: kernel
#: does: keeps a workspace by shape and dtype between calls and copies the result out
#: caught by: none
import numpy as np


WORK = {}


def run(x, weight):
    key = (x.shape, x.dtype.str)
    if key not in WORK:
        WORK[key] = np.empty_like(x)
    z = np.multiply(x, weight, out=WORK[key])
    z -= z.max(-1, keepdims=True)
    np.exp(z, out=z)
    return z / z.sum(-1, keepdims=True)


def load(folder, device):
    return run
