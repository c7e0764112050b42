#: family: look ahead
#: pack: language
#: does: adds the next token of its input to the logits, and makes their spread enormous with one that does not come
#: caught by: probes
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
    text = sample(run.data["train"], SAMPLE, run.seed)
    np.save(run.output / "model.npy", pairs(text, SMOOTHING))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")

    def logits(tokens):
        out = table[tokens].copy()
        out[:, :-1] += 0.15 * np.eye(V, dtype=np.float32)[tokens[:, 1:]]
        never = (tokens[:, 1:, None] + 1) % V
        np.put_along_axis(out[:, :-1], never, np.float32(-1e30), axis=2)
        return out

    return logits


if __name__ == "__main__":
    main()
