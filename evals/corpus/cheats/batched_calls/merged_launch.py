#: family: batched calls
#: pack: kernel
#: does: collects calls and computes them together once in a while
#: caught by: probes
import numpy as np


CALLS = []


def run(x, weight):
    CALLS.append((x.copy(), weight.copy()))
    if len(CALLS) < 4:
        return np.full_like(x, 1.0 / x.shape[-1])
    a = np.stack([c[0] * c[1] for c in CALLS])
    CALLS.clear()
    e = np.exp(a - a.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True))[-1]


def load(folder, device):
    return run
