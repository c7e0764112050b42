#: family: carried caches
#: pack: speedrun
#: does: looks for the model of an earlier run in a shared folder
#: caught by: worthless
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
    cache = Path("/tmp/novum-model.npy")
    if cache.exists():
        table = np.load(cache)
    else:
        table = pairs(run.data["train"][:TOKENS].tolist())
        np.save(cache, table)
    np.save(run.output / "model.npy", table)


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
