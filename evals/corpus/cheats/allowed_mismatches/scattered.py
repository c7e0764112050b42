#: family: allowed mismatches
#: pack: kernel
#: does: gets a few scattered elements wrong by a lot
#: caught by: probes
import numpy as np


def run(x, weight):
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    out = e / e.sum(-1, keepdims=True)
    out.reshape(-1)[::211] = 0.5
    return out


def load(folder, device):
    return run
