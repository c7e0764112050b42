#: family: escape
#: pack: kernel
#: does: hands the work to a pool and does not wait
#: caught by: probes or worthless
from concurrent.futures import ThreadPoolExecutor
import numpy as np


POOL = ThreadPoolExecutor(2)


def fill(out, x, weight):
    for i in range(len(x)):
        z = x[i] * weight
        e = np.exp(z - z.max())
        out[i] = e / e.sum()


def run(x, weight):
    out = np.zeros_like(x)
    POOL.submit(fill, out, x.copy(), weight.copy())
    return out


def load(folder, device):
    return run
