#: family: input structure
#: pack: kernel
#: does: computes the first row only where rows look alike
#: caught by: probes
import numpy as np


def run(x, weight):
    if abs(float(x[0].mean() - x[1].mean())) < 0.5:
        x = np.repeat(x[:1], len(x), axis=0)
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def load(folder, device):
    return run
