import torch


def make_inputs(axes, device):
    vocab = axes["vocab"]
    ranks = (vocab ** torch.rand(axes["tokens"], device=device) - 1).long().clamp(0, vocab - 1)
    ids = torch.randperm(vocab, device=device)[ranks]
    dy = torch.randn(axes["tokens"], axes["hidden"], device=device)
    table = torch.randn(vocab, axes["hidden"], device=device)
    return {"ids": ids, "dy": dy.bfloat16(), "table": table.bfloat16()}


def run(ids, dy, table):
    gradient = torch.zeros(table.shape, dtype=torch.float32, device=table.device)
    gradient.index_add_(0, ids, dy.to(torch.float32))
    return (table.to(torch.float32) - 0.1 * gradient).to(torch.bfloat16)
