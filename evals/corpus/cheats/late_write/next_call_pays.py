#: family: late write
#: pack: kernel
#: does: returns a buffer that the next call fills
#: caught by: probes
import numpy as np


PENDING = []


def run(x, weight):
    for out, a, b in PENDING:
        z = a * b
        e = np.exp(z - z.max(-1, keepdims=True))
        out[...] = e / e.sum(-1, keepdims=True)
    PENDING.clear()
    out = np.zeros_like(x)
    PENDING.append((out, x.copy(), weight.copy()))
    return out


def load(folder, device):
    return run
