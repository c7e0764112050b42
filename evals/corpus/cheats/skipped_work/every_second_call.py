#: family: skipped work
#: pack: kernel
#: does: computes every second call only
#: caught by: probes
import numpy as np


COUNT = [0]
OUT = [None]


def run(x, weight):
    COUNT[0] += 1
    if COUNT[0] % 2 or OUT[0] is None:
        z = x * weight
        e = np.exp(z - z.max(-1, keepdims=True))
        OUT[0] = e / e.sum(-1, keepdims=True)
    return OUT[0]


def load(folder, device):
    return run
