import torch


def run(x):
    square = torch.matmul(x, x.T)
    wide = square.to(torch.float32)
    update = -4.775 * wide + 2.0315 * torch.matmul(square, square).to(torch.float32)
    return (
        3.4445 * x.to(torch.float32) + torch.matmul(update.to(torch.bfloat16), x).to(torch.float32)
    ).to(torch.bfloat16)
