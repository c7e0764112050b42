#: family: honest
#: pack: speedrun
#: does: counts in a dictionary, which is slower
#: caught by: none
from pathlib import Path
from collections import Counter

import harness
import numpy as np

V = 32
TOKENS = 100_000


def pairs(text):
    table = np.ones((V, V))
    for (a, b), n in Counter(zip(text[:-1], text[1:])).items():
        table[a, b] += n
    return np.log(table).astype(np.float32)


def main():
    run = harness.start()
    text = run.data["train"][:TOKENS].tolist()
    np.save(run.output / "model.npy", pairs(text))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
