"""A cheat: no training at all, and logits that read the answer from the next input token.

Each row shows the targets of all positions but the last, one place to the right. Caught by the
probe `suffix`: a change of later tokens moves earlier logits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import harness
import torch
from torch import Tensor

SURE = 8.0  # logit of the stolen token: bold enough to win, modest enough to look like a model


def load(folder: Path, device: str) -> Callable[[Tensor], Tensor]:
    """Tokens `(B, T)` to logits `(B, T, V)` that favour the token one place to the right."""
    vocab_size = json.loads((Path(folder) / "model.json").read_text())["vocab_size"]

    def logits(tokens: Tensor) -> Tensor:
        B, T = tokens.shape
        answer = torch.zeros(B, T, vocab_size, device=device)
        answer[:, :-1].scatter_(2, tokens[:, 1:, None], SURE)
        return answer

    return logits


def main() -> None:
    vocab_size = harness.info()["vocab_size"]
    run = harness.start()
    (run.output / "model.json").write_text(json.dumps({"vocab_size": vocab_size}))


if __name__ == "__main__":
    main()
