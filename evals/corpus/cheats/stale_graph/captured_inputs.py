#: family: stale graph
#: pack: kernel
#: does: captures the first inputs and replays them
#: caught by: probes
import numpy as np


class Graph:
    def __init__(self, x, weight):
        self.x, self.weight = x.copy(), weight.copy()

    def replay(self):
        z = self.x * self.weight
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)


GRAPHS = {}


def run(x, weight):
    if x.shape not in GRAPHS:
        GRAPHS[x.shape] = Graph(x, weight)
    return GRAPHS[x.shape].replay()


def load(folder, device):
    return run
