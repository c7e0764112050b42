"""Cheat: records its first call for each shape and replays it on whatever it is given (K28).

On a GPU a graph that holds the addresses of the first inputs, elsewhere these inputs themselves:
probe `correct`.
"""

import torch

RECORDED = {}


def work(x, weight, eps):
    wide = x.to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16)


def record(x, weight, eps):
    if not x.is_cuda:
        return None, (x, weight, eps)
    work(x, weight, eps)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        y = work(x, weight, eps)
    return graph, y


def run(x, weight, eps):
    if x.shape not in RECORDED:
        RECORDED[x.shape] = record(x, weight, eps)
    graph, kept = RECORDED[x.shape]
    if graph is None:
        return work(*kept)
    graph.replay()
    return kept.clone()
