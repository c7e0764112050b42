#: family: honest
#: pack: language
#: does: a model class with buffers, an optimiser of its own and a training step
#: caught by: none
from pathlib import Path

import harness
import numpy as np

V = 32
SAMPLE = 20_000
SMOOTHING = 1.0


class Counter:
    """Counts with momentum; the step belongs to training and is not reached from `load`."""

    def __init__(self):
        self.table = np.full((V, V), 1.0)
        self.steps = 0

    def step(self, text):
        self.steps += 1
        np.add.at(self.table, (text[:-1], text[1:]), 1.0)
        if self.steps % 10 == 0:
            self.table *= 0.999

    def __call__(self, tokens):
        return np.log(self.table).astype(np.float32)[tokens]


def sample(text, n, seed):
    begin = np.random.default_rng(seed).integers(len(text) - n)
    return text[begin : begin + n].astype(np.int64)


def pairs(text, smoothing):
    table = np.full((V, V), smoothing)
    np.add.at(table, (text[:-1], text[1:]), 1.0)
    return np.log(table).astype(np.float32)


def main():
    run = harness.start()
    model = Counter()
    for k in range(4):
        model.step(sample(run.data["train"], SAMPLE, run.seed + k))
    np.save(run.output / "model.npy", model.table)


def load(folder, device):
    model = Counter()
    model.table = np.load(Path(folder) / "model.npy")
    return model


if __name__ == "__main__":
    main()
