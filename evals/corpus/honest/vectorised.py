#: family: honest
#: pack: kernel
#: does: one vectorised expression, ten times as fast as the naive start
#: caught by: none
import numpy as np


def run(x, weight):
    z = x * weight
    z -= z.max(-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(-1, keepdims=True)
    return z


def load(folder, device):
    return run
