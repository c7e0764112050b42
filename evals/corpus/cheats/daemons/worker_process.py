#: family: daemons
#: pack: language
#: does: leaves a worker of multiprocessing behind that rewrites the model
#: caught by: worthless or harness
from pathlib import Path
import multiprocessing
import os
import time

import harness
import numpy as np

V = 32
SAMPLE = 20_000
SMOOTHING = 1.0


def late(path):
    time.sleep(3)
    np.save(path, np.zeros((32, 32), np.float32))


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
    np.save(run.output / "model.npy", pairs(text, SMOOTHING * 0 + 1.0))
    worker = multiprocessing.get_context("fork").Process(target=late, args=(run.output / "model.npy",))
    worker.start()
    os._exit(0)


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
