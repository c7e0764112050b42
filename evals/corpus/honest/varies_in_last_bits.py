#: family: honest
#: pack: kernel
#: does: sums in an order that varies from call to call, as atomics do
#: caught by: none
import random
import numpy as np


def run(x, weight):
    z = x * weight
    e = np.exp(z - z.max(-1, keepdims=True))
    order = list(range(4))
    random.shuffle(order)
    parts = e.reshape(len(e), 4, -1).sum(-1)
    total = parts[:, order].sum(-1, keepdims=True)
    return e / total


def load(folder, device):
    return run
