"""Softmax of `x * weight`, row by row."""

import numpy as np


def run(x, weight):
    out = np.empty_like(x)
    for i in range(len(x)):
        z = x[i] * weight
        e = np.exp(z - z.max())
        out[i] = e / e.sum()
    return out


def load(folder, device):
    return run
