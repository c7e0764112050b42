import torch


def make_inputs(axes, device):
    tokens = torch.randint(
        0, 50304, (axes["batch"], axes["time"]), device=device, dtype=torch.int32
    )
    table = torch.randn(axes["slots"], axes["hidden"], device=device)
    return {"tokens": tokens, "table": table.bfloat16()}


def run(tokens, table):
    now = tokens.to(torch.int64)
    before = torch.nn.functional.pad(now[:, :-1], (1, 0))
    first = (now * 1000003 + before * 8191) % table.shape[0]
    second = (now * 69069 + before * 362437 + 12345) % table.shape[0]
    total = table[first].to(torch.float32) + table[second].to(torch.float32)
    return total.to(torch.bfloat16)
