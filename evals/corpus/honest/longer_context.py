#: family: honest
#: pack: language
#: does: reads more context when it is evaluated than it was trained with
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
    text = run.data["train"].astype(np.int64)
    two = pairs(text, 1.0)
    prior = np.exp(two) / np.exp(two).sum(-1, keepdims=True)
    three = np.zeros((V, V, V))
    np.add.at(three, (text[:-2], text[1:-1], text[2:]), 1.0)
    np.save(run.output / "model.npy", np.log(three + 8.0 * prior[None]).astype(np.float32))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")

    def logits(tokens):
        before = np.concatenate([tokens[:, :1], tokens[:, :-1]], axis=1)
        seen = np.eye(V, dtype=np.float32)[tokens].cumsum(axis=1)
        return table[before, tokens] + 0.01 * np.log1p(seen)

    return logits


if __name__ == "__main__":
    main()
