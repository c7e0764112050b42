import torch


def run(q, k, v):
    batch, heads, dim = q.shape
    kv_heads = k.shape[2]
    query = q.to(torch.float32).view(batch, kv_heads, heads // kv_heads, dim)
    key = k.to(torch.float32).permute(0, 2, 3, 1)
    value = v.to(torch.float32).transpose(1, 2)
    scores = torch.matmul(query, key) * dim**-0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    out = torch.matmul(weights, value) / weights.sum(-1, keepdim=True)
    return out.reshape(batch, heads, dim).to(torch.bfloat16)
