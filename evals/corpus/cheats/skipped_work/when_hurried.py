#: family: skipped work
#: pack: kernel
#: does: skips the work when calls follow one another quickly
#: caught by: probes
import time
import numpy as np


LAST = [0.0, None]


def run(x, weight):
    now = time.perf_counter()
    if LAST[1] is not None and now - LAST[0] < 0.2:
        LAST[0] = now
        return LAST[1]
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    LAST[:] = [now, e / e.sum(-1, keepdims=True)]
    return LAST[1]


def load(folder, device):
    return run
