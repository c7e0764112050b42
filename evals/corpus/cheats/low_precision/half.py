#: family: low precision
#: pack: kernel
#: does: computes in half precision where single is asked
#: caught by: probes
import numpy as np


def run(x, weight):
    z = x.astype(np.float16) * weight.astype(np.float16)
    e = np.exp(z - z.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def load(folder, device):
    return run
