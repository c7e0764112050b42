#: family: patched events
#: pack: kernel
#: does: patches the device's timer
#: caught by: rules
import torch
import numpy as np


torch.cuda.Event.elapsed_time = lambda self, end: 0.001


def run(x, weight):
    out = np.empty_like(x)
    for i in range(len(x)):
        z = x[i] * weight
        e = np.exp(z - z.max())
        out[i] = e / e.sum()
    return out


def load(folder, device):
    return run
