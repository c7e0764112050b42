#: family: honest
#: pack: language
#: does: writes aside and renames, so that a deadline meets no half of a file
#: caught by: none
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
    text = sample(run.data["train"], SAMPLE * 2, run.seed)
    with open(run.output / "model.part", "wb") as file:
        np.save(file, pairs(text, SMOOTHING))
        file.flush()
        os.fsync(file.fileno())
    os.replace(run.output / "model.part", run.output / "model.npy")


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
