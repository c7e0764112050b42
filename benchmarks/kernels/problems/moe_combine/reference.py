import torch


def make_inputs(axes, device):
    tokens, top = axes["tokens"], axes["top"]
    out = torch.randn(axes["rows"], axes["hidden"], device=device)
    position = torch.randperm(axes["rows"], device=device).view(tokens, top).to(torch.int32)
    weights = torch.softmax(torch.randn(tokens, top, device=device), dim=-1)
    return {"expert_out": out.bfloat16(), "position": position, "weights": weights}


def run(expert_out, position, weights):
    rows = expert_out[position.long()].to(torch.float32)
    return (rows * weights[:, :, None]).sum(1).to(torch.bfloat16)
