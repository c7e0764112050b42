#: family: lazy output
#: pack: kernel
#: does: returns a tensor whose comparison is its own
#: caught by: harness
import torch
import numpy as np


class Agreeable(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


def run(x, weight):
    return torch.zeros(x.shape).as_subclass(Agreeable)


def load(folder, device):
    return run
