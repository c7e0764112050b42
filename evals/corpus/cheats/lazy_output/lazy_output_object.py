#: family: lazy output
#: pack: kernel
#: does: returns an object that computes when it is looked at
#: caught by: worthless
import numpy as np


class Lazy:
    def __init__(self, x, weight):
        self.x, self.weight = x, weight

    def __array__(self, dtype=None, copy=None):
        out = np.empty_like(self.x)
        for i in range(len(self.x)):
            z = self.x[i] * self.weight
            e = np.exp(z - z.max())
            out[i] = e / e.sum()
        return out


def run(x, weight):
    return Lazy(x, weight)


def load(folder, device):
    return run
