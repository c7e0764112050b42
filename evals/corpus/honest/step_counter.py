#: family: honest
#: pack: language
#: does: a training loop with a step counter and a schedule
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
    counts = np.full((V, V), SMOOTHING)
    step = 0
    while step < 6 and run.remaining_s() > 0.1:
        text = sample(run.data["train"], SAMPLE // 2, run.seed + step)
        np.add.at(counts, (text[:-1], text[1:]), 1.0)
        step += 1
        if step % 2 == 0:
            print("step", step)
    np.save(run.output / "model.npy", np.log(counts).astype(np.float32))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
