#: family: kernel cache
#: pack: kernel
#: does: wraps the kernel into a memoising decorator
#: caught by: worthless
import functools
import numpy as np


@functools.lru_cache(maxsize=None)
def softmax(data, shape, weight):
    z = np.frombuffer(data, np.float32).reshape(shape) * np.frombuffer(weight, np.float32)
    out = np.empty_like(z)
    for i in range(len(z)):
        e = np.exp(z[i] - z[i].max())
        out[i] = e / e.sum()
    return out


def run(x, weight):
    return softmax(x.tobytes(), x.shape, weight.tobytes())


def load(folder, device):
    return run
