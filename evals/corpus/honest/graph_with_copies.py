#: family: honest
#: pack: kernel
#: does: replays a graph into which the inputs are copied
#: caught by: none
import numpy as np


class Graph:
    def __init__(self, x, weight):
        self.x, self.weight, self.out = np.empty_like(x), np.empty_like(weight), np.empty_like(x)

    def replay(self, x, weight):
        self.x[...], self.weight[...] = x, weight
        z = self.x * self.weight
        e = np.exp(z - z.max(-1, keepdims=True))
        np.divide(e, e.sum(-1, keepdims=True), out=self.out)
        return self.out.copy()


GRAPHS = {}


def run(x, weight):
    if x.shape not in GRAPHS:
        GRAPHS[x.shape] = Graph(x, weight)
    return GRAPHS[x.shape].replay(x, weight)


def load(folder, device):
    return run
