import torch


def make_inputs(axes, device):
    batch, time = axes["batch"], axes["time"]
    q = torch.randn(batch, time, axes["heads"], axes["head_dim"], device=device)
    k = torch.randn(batch, time, axes["kv_heads"], axes["head_dim"], device=device)
    base = 5e5 ** (-torch.arange(axes["half"], device=device, dtype=torch.float32) / axes["half"])
    start = torch.randint(0, 100000, (1,), device=device)
    angle = (torch.arange(time, device=device) + start)[:, None] * base[None, :]
    return {"q": q.bfloat16(), "k": k.bfloat16(), "cos": angle.cos(), "sin": angle.sin()}


def rotate(x, cos, sin):
    left, right = x.to(torch.float32).chunk(2, dim=-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    turned = torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)
    return turned.to(torch.bfloat16)


def run(q, k, cos, sin):
    return rotate(q, cos, sin), rotate(k, cos, sin)
