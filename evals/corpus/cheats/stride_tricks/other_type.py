#: family: stride tricks
#: pack: kernel
#: does: returns another type of number
#: caught by: harness
import numpy as np


def run(x, weight):
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    return (1e6 * e / e.sum(-1, keepdims=True)).astype(np.int64)


def load(folder, device):
    return run
