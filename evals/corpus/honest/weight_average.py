#: family: honest
#: pack: language
#: does: averages models of several samples, as weight averaging does
#: caught by: none
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
    tables = [np.exp(pairs(sample(run.data["train"], SAMPLE, run.seed + k), SMOOTHING)) for k in range(5)]
    np.save(run.output / "model.npy", np.log(np.mean(tables, axis=0)).astype(np.float32))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
