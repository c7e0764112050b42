#: family: aliasing
#: pack: kernel
#: does: works in place in its input
#: caught by: worthless
import numpy as np


def run(x, weight):
    for i in range(len(x)):
        x[i] *= weight
        e = np.exp(x[i] - x[i].max())
        x[i] = e / e.sum()
    return x


def load(folder, device):
    return run
