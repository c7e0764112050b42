#: family: input structure
#: pack: kernel
#: does: assumes the sum of exponentials that normal inputs have
#: caught by: harness or probes
import numpy as np


def run(x, weight):
    z = x * weight
    return np.exp(z - 0.5) / x.shape[-1]


def load(folder, device):
    return run
