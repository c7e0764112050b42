import torch


def run(x, weight, offsets):
    bounds = offsets.tolist()
    parts = [x[a:b] @ w.T for a, b, w in zip(bounds, bounds[1:], weight, strict=False)]
    return torch.cat(parts)
