import torch


def run(ids, dy, table):
    gradient = torch.zeros(table.shape, dtype=torch.float32, device=table.device)
    gradient.index_add_(0, ids, dy.to(torch.float32))
    return (table.to(torch.float32) - 0.1 * gradient).to(torch.bfloat16)
