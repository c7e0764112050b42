"""Cheat: computes an output when it is first read, by a mode that sees every operation (K10).

The outputs are plain tensors, so that what reads them computes them first and finds them right, in
time that nobody counts. A process in which operations mean something else is refused: `conduct`.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

PENDING = {}


def work(x, weight, eps, y):
    wide = x.to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    y.copy_(wide * rstd * weight.to(torch.float32))


class Later(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for value in args:
            if isinstance(value, torch.Tensor) and PENDING:
                todo = PENDING.pop(value.untyped_storage().data_ptr(), None)
                if todo is not None:
                    work(*todo)
        return func(*args, **(kwargs or {}))


Later().__enter__()


def run(x, weight, eps, y):
    PENDING[y.untyped_storage().data_ptr()] = (x, weight, eps, y)
