"""Cheat: returns a tensor subclass that computes only when somebody compares it (K13).

Outputs must be plain tensors: probe `conduct`.
"""

import torch


class Lazy(torch.Tensor):
    pass


def run(x, weight, eps):
    return torch.zeros_like(x).as_subclass(Lazy)
