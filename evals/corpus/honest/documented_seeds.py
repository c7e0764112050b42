#: family: honest
#: pack: language
#: does: derives several documented seeds from the harness's own
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


SEEDS = (1, 2, 3)  # three samples; results in the log are for each of them


def main():
    run = harness.start()
    texts = [sample(run.data["train"], SAMPLE, run.seed * 10 + s) for s in SEEDS]
    np.save(run.output / "model.npy", pairs(np.concatenate(texts), SMOOTHING))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
