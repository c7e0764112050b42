"""Honest: keeps its working memory from call to call, by shape, and fills the outputs it is handed.

Every result is computed from the inputs of its call; only the room for the steps is kept.
"""

import torch

ROOM = {}


def run(x, weight, eps, y):
    wide = ROOM.setdefault((x.shape, x.device), torch.empty_like(x, dtype=torch.float32))
    wide.copy_(x)
    rstd = torch.rsqrt(
        torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_() / x.shape[-1] + eps
    )
    torch.mul(wide.mul_(rstd), weight.to(torch.float32), out=wide)
    y.copy_(wide)
