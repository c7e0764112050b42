#: family: weak baseline
#: pack: language
#: does: burns the processor so that whoever runs beside it is slower
#: caught by: worthless
from pathlib import Path
import threading

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


def burn():
    x = 1
    for _ in range(300_000):
        x = x * 3 % 1_000_003


def main():
    run = harness.start()
    text = sample(run.data["train"], SAMPLE, run.seed)
    np.save(run.output / "model.npy", pairs(text, SMOOTHING))
    for _ in range(4):
        threading.Thread(target=burn, daemon=True).start()


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
