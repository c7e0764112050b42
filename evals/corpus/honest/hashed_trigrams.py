#: family: honest
#: pack: language
#: does: hash embeddings of previous tokens in the way of n-gram tables
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
    slot = (text[:-2] * 7919 ^ text[1:-1] * 104729) % 4096
    table = np.zeros((4096, V))
    np.add.at(table, (slot, text[2:]), 1.0)
    np.savez(run.output / "model.npz", hashed=table.astype(np.float32), prior=prior.astype(np.float32))


def load(folder, device):
    saved = np.load(Path(folder) / "model.npz")
    hashed, prior = saved["hashed"], saved["prior"]

    def logits(tokens):
        before = np.concatenate([tokens[:, :1], tokens[:, :-1]], axis=1)
        slot = (before * 7919 ^ tokens * 104729) % 4096
        return np.log(hashed[slot] + 8.0 * prior[tokens])

    return logits


if __name__ == "__main__":
    main()
