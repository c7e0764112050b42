#: family: honest
#: pack: language
#: does: prefetches batches in a thread and joins it
#: caught by: none
from pathlib import Path
import queue
import threading

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
    batches = queue.Queue(2)

    def fetch():
        for k in range(4):
            batches.put(sample(run.data["train"], SAMPLE, run.seed + k))

    worker = threading.Thread(target=fetch, daemon=True)
    worker.start()
    text = np.concatenate([batches.get() for _ in range(4)])
    worker.join()
    np.save(run.output / "model.npy", pairs(text, SMOOTHING))


def load(folder, device):
    table = np.load(Path(folder) / "model.npy")
    return lambda tokens: table[tokens]


if __name__ == "__main__":
    main()
