import torch


def make_inputs(axes, device):
    logits = 2 * torch.randn(axes["tokens"], axes["vocab"], device=device)
    target = torch.randint(0, axes["vocab"], (axes["tokens"],), device=device)
    return {"logits": logits.bfloat16(), "target": target}


def run(logits, target):
    wide = logits.to(torch.float32)
    top = wide.amax(-1, keepdim=True)
    lse = (wide - top).exp().sum(-1, keepdim=True).log() + top
    loss = lse - wide.gather(1, target[:, None])
    hit = torch.arange(wide.shape[1], device=wide.device)[None, :] == target[:, None]
    return loss[:, 0], ((wide - lse).exp() - hit.to(torch.float32)).to(torch.bfloat16)
