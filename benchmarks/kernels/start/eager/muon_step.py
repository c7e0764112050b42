import torch


def run(g):
    wide = g.to(torch.float32)
    x = (wide / (wide.pow(2).sum().sqrt() + 1e-7)).to(torch.bfloat16)
    for _ in range(5):
        square = torch.matmul(x, x.T)
        update = -4.775 * square.to(torch.float32) + 2.0315 * torch.matmul(square, square).to(torch.float32)
        x = (3.4445 * x.to(torch.float32) + torch.matmul(update.to(torch.bfloat16), x).to(torch.float32)).to(torch.bfloat16)
    return x
