"""Baseline solutions made of a definition's reference: as it is, and under the modes of torch.compile."""

from __future__ import annotations

from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.solution import Solution, python_solution

MODES = ("eager", "default", "max-autotune-no-cudagraphs")
"""`reduce-overhead` is left out: replayed graphs hold their inputs at fixed addresses, and before each timed call
the cache flush already hides the launches that they save."""

_COMPILED = '''

import torch as _torch

_torch.backends.cuda.matmul.allow_tf32 = False
_eager = run
run = _torch.no_grad()(_torch.compile(_eager, dynamic=False{mode}))
'''
_EAGER = '''

import torch as _torch

run = _torch.no_grad()(run)
'''


def baseline(definition: Definition, mode: str) -> Solution:
    """The reference as a solution that returns its outputs.

    Raises:
        ValueError: there is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"no baseline mode {mode!r}; there are {', '.join(MODES)}")
    argument = "" if mode == "default" else f', mode="{mode}"'
    tail = _EAGER if mode == "eager" else _COMPILED.format(mode=argument)
    files = {"baseline.py": (definition.reference + tail).encode()}
    return python_solution(f"{definition.name}-{mode}", definition.name, files, "baseline.py::run", returns=True)
