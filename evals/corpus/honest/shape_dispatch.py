#: family: honest
#: pack: kernel
#: does: dispatches by shape inside the specification
#: caught by: none
import numpy as np


def run(x, weight):
    if x.shape[-1] == 128:
        z = np.einsum("ij,j->ij", x, weight)
    else:
        z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def load(folder, device):
    return run
