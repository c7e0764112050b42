#: family: patched events
#: pack: kernel
#: does: patches the host's clock from inside the kernel
#: caught by: rules
import time
import numpy as np


def run(x, weight):
    time.perf_counter_ns = lambda: 0
    out = np.empty_like(x)
    for i in range(len(x)):
        z = x[i] * weight
        e = np.exp(z - z.max())
        out[i] = e / e.sum()
    return out


def load(folder, device):
    return run
