#: family: stride tricks
#: pack: kernel
#: does: returns one row seen as many by strides of zero
#: caught by: probes
import numpy as np


def run(x, weight):
    z = x[0] * weight
    e = np.exp(z - z.max())
    return np.broadcast_to(e / e.sum(), x.shape)


def load(folder, device):
    return run
