#: family: honest
#: pack: speedrun
#: does: counts in chunks by a strided view of the text
#: caught by: none
from pathlib import Path

import harness
import numpy as np

V = 32
TOKENS = 100_000


def pairs(text):
    text = np.asarray(text)
    windows = np.lib.stride_tricks.sliding_window_view(text, 2)
    flat = np.bincount(windows[:, 0] * V + windows[:, 1], minlength=V * V)
    return np.log(flat.reshape(V, V) + 1.0).astype(np.float32)


def main():
    run = harness.start()
    text = run.data["train"][:TOKENS].tolist()
    np.save(run.output / "model.npy", pairs(text))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
