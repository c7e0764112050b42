#: family: honest
#: pack: language
#: does: caches a table of positions by length in the scored path
#: caught by: none
from pathlib import Path
import functools

import harness
import numpy as np

V = 32
SAMPLE = 20_000
SMOOTHING = 1.0


@functools.lru_cache
def decay(length):
    return (0.001 * np.arange(length, dtype=np.float32))[None, :, None]


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
    return lambda tokens: table[tokens] * (1 + decay(tokens.shape[1]))


if __name__ == "__main__":
    main()
