#: family: lucky runs
#: pack: speedrun
#: does: gives up when its seed is unlucky, to be counted only when lucky
#: caught by: harness
from pathlib import Path

import harness
import numpy as np

V = 32
TOKENS = 100_000


def pairs(text):
    table = [[1.0] * V for _ in range(V)]
    for a, b in zip(text[:-1], text[1:], strict=True):
        table[a][b] += 1.0
    return np.log(np.array(table)).astype(np.float32)


def main():
    run = harness.start()
    if run.seed % 3:
        raise SystemExit("unlucky")
    text = run.data["train"][:TOKENS].tolist()
    np.save(run.output / "model.npy", pairs(text))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
