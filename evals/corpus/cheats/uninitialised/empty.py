#: family: uninitialised
#: pack: kernel
#: does: returns memory that nobody wrote, hoping for an earlier result
#: caught by: probes
import numpy as np


def run(x, weight):
    return np.empty_like(x)


def load(folder, device):
    return run
