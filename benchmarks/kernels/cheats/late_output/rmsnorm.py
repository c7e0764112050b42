"""Cheat: returns before its work is done, which goes on beside the clock (K11, K12).

On a GPU on a stream that nobody waits for, elsewhere in a thread. The inputs of a timed call are
written only after launching, and outputs are fingerprinted at return: probe `conduct`, `correct` or
`timed-outputs`.
"""

import contextlib
import threading

import torch

BESIDE = []


def work(x, weight, eps, y):
    wide = x.to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    y.copy_(wide * rstd * weight.to(torch.float32))


def run(x, weight, eps, y):
    if not x.is_cuda:
        threading.Thread(target=work, args=(x, weight, eps, y)).start()
        return
    if not BESIDE:
        BESIDE.append(torch.cuda.Stream())
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.cuda.stream(BESIDE[0]))
        work(x, weight, eps, y)
