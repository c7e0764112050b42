#: family: stride tricks
#: pack: kernel
#: does: returns the right numbers in the wrong order
#: caught by: probes
import numpy as np


def run(x, weight):
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    out = e / e.sum(-1, keepdims=True)
    return np.lib.stride_tricks.as_strided(out, out.shape, (out.strides[1], out.strides[0]))


def load(folder, device):
    return run
