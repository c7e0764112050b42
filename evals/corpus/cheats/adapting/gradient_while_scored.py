#: family: adapting
#: pack: language
#: does: takes gradient steps on the text that it is scored on
#: caught by: rules
from pathlib import Path
import torch

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
    table = torch.tensor(np.load(Path(folder) / "model.npy"), requires_grad=True)
    optimiser = torch.optim.SGD([table], lr=0.1)

    def logits(tokens):
        rows = torch.from_numpy(tokens)
        out = table[rows]
        loss = torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        optimiser.step()
        return out.detach().numpy()

    return logits


if __name__ == "__main__":
    main()
