#: family: constant output
#: pack: kernel
#: does: returns zeros, which are near the small values
#: caught by: probes
import numpy as np


def run(x, weight):
    return np.zeros_like(x)


def load(folder, device):
    return run
