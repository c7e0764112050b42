import torch


def run(logits):
    wide = logits.to(torch.float32)
    shifted = (wide - wide.amax(-1, keepdim=True)).exp()
    return (shifted / shifted.sum(-1, keepdim=True)).to(torch.bfloat16)
