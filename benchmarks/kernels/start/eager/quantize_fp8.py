import torch


def run(x):
    rows, hidden = x.shape
    wide = x.to(torch.float32).view(rows, hidden // 128, 128)
    scale = wide.abs().amax(-1).clamp(min=1e-8) / 448
    q = (wide / scale[:, :, None]).clamp(-448, 448)
    return q.to(torch.float8_e4m3fn).view(rows, hidden), scale
