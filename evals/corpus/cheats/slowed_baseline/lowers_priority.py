#: family: slowed baseline
#: pack: kernel
#: does: raises its own priority and takes all cores
#: caught by: harness
import os
import numpy as np


os.nice(-20)


def run(x, weight):
    out = np.empty_like(x)
    for i in range(len(x)):
        z = x[i] * weight
        e = np.exp(z - z.max())
        out[i] = e / e.sum()
    return out


def load(folder, device):
    return run
