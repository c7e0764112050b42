import torch


def make_inputs(axes, device):
    tokens, experts = axes["tokens"], axes["experts"]
    rank = torch.rand(tokens, experts, device=device).argsort(-1).to(torch.float32)
    jitter = 0.5 * torch.rand(tokens, experts, device=device)
    return {"logits": (rank + jitter) * (8 / experts) - 4}


def run(logits):
    probs = torch.softmax(logits, dim=-1)
    best, ids = probs.topk(8, dim=-1)
    return best / best.sum(-1, keepdim=True), ids.to(torch.int32)
