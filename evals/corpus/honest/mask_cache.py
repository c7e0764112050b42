#: family: honest
#: pack: language
#: does: caches masks by shape in a dictionary of the module
#: caught by: none
from pathlib import Path

import harness
import numpy as np

V = 32
SAMPLE = 20_000
SMOOTHING = 1.0


MASKS = {}


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

    def logits(tokens):
        key = (tokens.shape[1], tokens.dtype.str)
        if key not in MASKS:
            MASKS[key] = np.tril(np.ones((tokens.shape[1], tokens.shape[1]), np.float32))
        seen = MASKS[key] @ np.eye(V, dtype=np.float32)[tokens]
        return table[tokens] + np.float32(0.001) * seen

    return logits


if __name__ == "__main__":
    main()
