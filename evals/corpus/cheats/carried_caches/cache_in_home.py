#: family: carried caches
#: pack: speedrun
#: does: keeps its model in the user's home
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
    cache = Path.home() / "model_cache.npy"
    try:
        table = np.load(cache)
    except OSError:
        table = pairs(run.data["train"][:TOKENS].tolist())
        try:
            np.save(cache, table)
        except OSError:
            pass
    np.save(run.output / "model.npy", table)


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
