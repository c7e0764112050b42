#: family: honest
#: pack: kernel
#: does: splits the exponential into a table and a polynomial, accurate to rounding
#: caught by: none
import numpy as np


TABLE = np.exp2(np.arange(-160, 2)).astype(np.float64)


def run(x, weight):
    z = x * weight
    z = np.maximum((z - z.max(-1, keepdims=True)) * 1.4426950408889634, -150.0)
    whole = np.floor(z)
    e = TABLE[(whole + 160).astype(np.int64)] * np.exp2(z - whole)
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def load(folder, device):
    return run
