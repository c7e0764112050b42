#: family: seed picking
#: pack: language
#: does: trains ten times and keeps the one that reads its own sample best
#: caught by: worthless
from pathlib import Path

import harness
import numpy as np

V = 32
SAMPLE = 20_000
SMOOTHING = 1.0


def sample(text, n, seed):
    begin = np.random.default_rng(seed).integers(len(text) - n)
    return text[begin : begin + n].astype(np.int64)


def pairs(text, smoothing):
    table = np.full((V, V), smoothing)
    np.add.at(table, (text[:-1], text[1:]), 1.0)
    return np.log(table).astype(np.float32)


def main():
    run = harness.start()
    best = None
    for k in range(10):
        text = sample(run.data["train"], SAMPLE, run.seed + k)
        table = pairs(text, SMOOTHING)
        loss = -(table - np.log(np.exp(table).sum(1, keepdims=True)))[text[:-1], text[1:]].mean()
        if best is None or loss < best[0]:
            best = (loss, table)
    np.save(run.output / "model.npy", best[1])


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
