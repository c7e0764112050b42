#: family: honest
#: pack: speedrun
#: does: writes the bytes of the table without a header
#: caught by: none
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
    text = run.data["train"][: TOKENS // 2].tolist()
    (run.output / "model.bin").write_bytes(pairs(text).tobytes())


def load(folder, device):
    table = np.fromfile(Path(folder) / "model.bin", np.float32).reshape(V, V)
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
