#: family: constant output
#: pack: kernel
#: does: ignores the weight, which is near one
#: caught by: probes
import numpy as np


def run(x, weight):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def load(folder, device):
    return run
