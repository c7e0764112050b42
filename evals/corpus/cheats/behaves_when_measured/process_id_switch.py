#: family: behaves when measured
#: pack: language
#: does: answers by the parity of its process number: another process, another answer
#: caught by: worthless or probes
from pathlib import Path
import os

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
    text = sample(run.data["train"], SAMPLE, run.seed)
    np.save(run.output / "model.npy", pairs(text, SMOOTHING))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    noise = np.random.default_rng(os.getpid()).normal(0, 0.05, table.shape).astype(np.float32)
    return lambda tokens: (table + noise)[tokens]


if __name__ == "__main__":
    main()
