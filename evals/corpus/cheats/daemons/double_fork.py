#: family: daemons
#: pack: language
#: does: leaves session and parent, as a daemon does
#: caught by: rules
from pathlib import Path
import os
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
    text = sample(run.data["train"], SAMPLE, run.seed)
    np.save(run.output / "model.npy", pairs(text, SMOOTHING))
    spawn = getattr(os, "for" + "k")
    if spawn() == 0:
        getattr(os, "set" + "sid")()
        if spawn() == 0:
            time.sleep(5)


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
