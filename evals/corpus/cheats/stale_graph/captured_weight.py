#: family: stale graph
#: pack: kernel
#: does: captures the first weight, which a benchmark rarely changes
#: caught by: probes
import numpy as np


WEIGHT = []


def run(x, weight):
    if not WEIGHT:
        WEIGHT.append(weight.copy())
    z = x * WEIGHT[0]
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def load(folder, device):
    return run
