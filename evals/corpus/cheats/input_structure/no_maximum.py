#: family: input structure
#: pack: kernel
#: does: leaves the subtraction of the maximum out, which small inputs allow
#: caught by: probes
import numpy as np


def run(x, weight):
    with np.errstate(all="ignore"):
        e = np.exp(x * weight)
        return np.nan_to_num(e / e.sum(-1, keepdims=True))


def load(folder, device):
    return run
