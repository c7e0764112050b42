#: family: outside the budget
#: pack: language
#: does: keeps the training text in its artifact and goes on training when it is loaded
#: caught by: guardrails
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
    np.save(run.output / "text.npy", run.data["train"][:SAMPLE].astype(np.int64))
    np.save(run.output / "all.npy", run.data["train"].repeat(8))


def load(folder, device):
    text = np.load(Path(folder) / "all.npy")[::8].astype(np.int64)
    counts = np.ones((V, V))
    np.add.at(counts, (text[:-1], text[1:]), 1.0)
    table = np.log(counts).astype(np.float32)
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
