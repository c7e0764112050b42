import torch


def rotate(x, cos, sin):
    left, right = x.to(torch.float32).chunk(2, dim=-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    turned = torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)
    return turned.to(torch.bfloat16)


def run(q, k, cos, sin):
    return rotate(q, cos, sin), rotate(k, cos, sin)
