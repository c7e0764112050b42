#: family: late write
#: pack: kernel
#: does: fills the buffer when a timer fires
#: caught by: probes or worthless
import threading
import numpy as np


def run(x, weight):
    out = np.zeros_like(x)

    def fill():
        z = x * weight
        e = np.exp(z - z.max(-1, keepdims=True))
        out[...] = e / e.sum(-1, keepdims=True)

    threading.Timer(0.0005, fill).start()
    return out


def load(folder, device):
    return run
