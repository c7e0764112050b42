#: family: honest
#: pack: language
#: does: a schedule by its own clock and by the time that is left
#: caught by: none
from pathlib import Path
import time

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
    counts = np.full((V, V), SMOOTHING)
    begin, k = time.perf_counter(), 0
    while k < 8 and time.perf_counter() - begin < 0.4:
        text = sample(run.data["train"], SAMPLE, run.seed + k)
        np.add.at(counts, (text[:-1], text[1:]), 1.0)
        k += 1
    np.save(run.output / "model.npy", np.log(counts).astype(np.float32))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
