import torch


def run(x):
    wide = x.to(torch.float32)
    scale = wide.abs().amax(-1).clamp(min=1e-8) / 127
    return torch.round(wide / scale[:, None]).to(torch.int8), scale
