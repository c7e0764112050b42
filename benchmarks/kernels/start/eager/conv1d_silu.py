import torch


def run(x, weight, bias):
    padded = torch.nn.functional.pad(x.to(torch.float32), (0, 0, 3, 0))
    time = x.shape[1]
    total = bias.to(torch.float32)[None, None, :]
    for tap in range(4):
        total = total + padded[:, tap : tap + time] * weight[:, tap].to(torch.float32)
    return (total / (1 + (-total).exp())).to(torch.bfloat16)
