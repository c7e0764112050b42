#: family: constant output
#: pack: kernel
#: does: returns the mean of all softmaxes
#: caught by: probes
import numpy as np


def run(x, weight):
    return np.full_like(x, 1.0 / x.shape[-1])


def load(folder, device):
    return run
