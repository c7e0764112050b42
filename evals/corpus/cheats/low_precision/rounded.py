#: family: low precision
#: pack: kernel
#: does: rounds the output to a few digits
#: caught by: probes
import numpy as np


def run(x, weight):
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.round(e / e.sum(-1, keepdims=True), 4)


def load(folder, device):
    return run
