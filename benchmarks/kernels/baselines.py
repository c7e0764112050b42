"""Baseline solutions made of a definition's reference: as it is, and under the modes of
torch.compile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.solution import Solution, python_solution
from novum.benchmarks.kernels.workload import Workload

MODES = ("eager", "default", "max-autotune-no-cudagraphs")
"""`reduce-overhead` is left out: replayed graphs hold their inputs at fixed addresses, and before
each timed call
the cache flush already hides the launches that they save."""

_COMPILED = """

import torch as _torch

_torch.backends.cuda.matmul.allow_tf32 = False
_eager = run
run = _torch.no_grad()(_torch.compile(_eager, dynamic=False{mode}))
"""
_EAGER = """

import torch as _torch

run = _torch.no_grad()(run)
"""


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
    return python_solution(
        f"{definition.name}-{mode}", definition.name, files, "baseline.py::run", returns=True
    )


_MIXED = """

import torch as _torch

_torch.backends.cuda.matmul.allow_tf32 = False
_eager = run
_MODES = {modes!r}
_made = {{"eager": _eager}}


def _mode(name):
    if name not in _made:
        mode = None if name == "default" else name
        _made[name] = _torch.compile(_eager, dynamic=False, mode=mode)
    return _made[name]


@_torch.no_grad()
def run(*inputs):
    shapes = tuple(tuple(x.shape) for x in inputs if isinstance(x, _torch.Tensor))
    return _mode(_MODES[shapes])(*inputs)
"""


def mixed_baseline(
    definition: Definition, workloads: Sequence[Workload], modes: Mapping[str, str]
) -> Solution:
    """A baseline that takes another mode for each workload, told apart by the inputs' shapes.

    `modes` has a mode for the uuid of every workload.
    """
    table = {}
    for workload in workloads:
        sizes = definition.sizes(workload.axes)
        shapes = [definition.shape(spec, sizes) for spec in definition.inputs.values()]
        table[tuple(shape for shape in shapes if shape is not None)] = modes[workload.uuid]
    source = definition.reference + _MIXED.format(modes=table)
    files = {"baseline.py": source.encode()}
    name = f"{definition.name}-compiled"
    return python_solution(name, definition.name, files, "baseline.py::run", returns=True)
