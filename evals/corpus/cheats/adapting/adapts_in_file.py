#: family: adapting
#: pack: language
#: does: keeps what it learned in a file for the next process
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
    table = np.exp(np.load(Path(folder) / "model.npy"))
    notes = Path("notes.npy")
    if notes.exists():
        table = table + np.load(notes)

    def logits(tokens):
        out = np.log(table)[tokens].astype(np.float32)
        np.add.at(table, (tokens[:, :-1], tokens[:, 1:]), 1.0)
        try:
            np.save(notes, table)
        except OSError:
            pass
        return out

    return logits


if __name__ == "__main__":
    main()
