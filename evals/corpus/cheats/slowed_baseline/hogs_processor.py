#: family: slowed baseline
#: pack: kernel
#: does: burns the processor between its calls, so that others are slow
#: caught by: worthless
import threading
import numpy as np


def burn():
    x = 1
    for _ in range(2_000_000):
        x = x * 3 % 1_000_003


threading.Thread(target=burn, daemon=True).start()


def run(x, weight):
    out = np.empty_like(x)
    for i in range(len(x)):
        z = x[i] * weight
        e = np.exp(z - z.max())
        out[i] = e / e.sum()
    return out


def load(folder, device):
    return run
