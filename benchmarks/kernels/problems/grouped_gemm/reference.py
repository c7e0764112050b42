import torch


def make_inputs(axes, device):
    tokens, experts = axes["tokens"], axes["experts"]
    share = torch.softmax(0.3 * torch.randn(experts, device=device), 0)
    inner = (share.cumsum(0)[:-1] * tokens).round().to(torch.int32)
    ends = torch.tensor([tokens], dtype=torch.int32, device=device)
    offsets = torch.cat((torch.zeros_like(ends), inner, ends))
    x = torch.randn(tokens, axes["k"], device=device)
    weight = torch.randn(experts, axes["n"], axes["k"], device=device) * axes["k"] ** -0.5
    return {"x": x.bfloat16(), "weight": weight.bfloat16(), "offsets": offsets}


def run(x, weight, offsets):
    bounds = offsets.tolist()
    parts = [x[a:b] @ w.T for a, b, w in zip(bounds, bounds[1:], weight, strict=False)]
    return torch.cat(parts)
