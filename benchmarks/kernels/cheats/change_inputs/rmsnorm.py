"""Cheat: zeroes its inputs, hoping that the reference is computed from them afterwards (K8).

The referee keeps inputs of its own: probe `conduct`.
"""

import torch


def run(x, weight, eps):
    x.zero_()
    return torch.zeros_like(x)
