"""Shared memory through which inputs and outputs of one workload travel."""

from __future__ import annotations

import os

from novum.benchmarks.kernels import tensors, wire
from novum.benchmarks.kernels.dtypes import item_bytes, torch_name
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.workload import Workload


class Frames:
    """Shared memory for the inputs and outputs of one workload; the candidate can only read the
    inputs.

    One pair of frames serves a whole evaluation: fresh pages cost more than what is written into
    them.
    """

    def __init__(self, problem: Problem, workload: Workload) -> None:
        definition = problem.definition
        sizes = definition.sizes(workload.axes)
        self.workload = workload
        shapes = {k: definition.shape(s, sizes) for k, s in definition.inputs.items()}
        placed, in_size = tensors.layout(
            [
                (k, torch_name(s.dtype), shapes[k] or (), item_bytes(s.dtype))
                for k, s in definition.inputs.items()
                if shapes[k] is not None
            ]
        )
        by_name = {slot["name"]: slot for slot in placed}
        self.in_slots: list[tensors.Slot] = [by_name.get(k, {"name": k}) for k in definition.inputs]
        outs = [
            (k, torch_name(s.dtype), definition.shape(s, sizes) or (), item_bytes(s.dtype))
            for k, s in definition.outputs.items()
        ]
        self.out_slots, out_size = tensors.layout(outs)
        self.in_memory = wire.shared_memory(in_size, "inputs")
        self.in_readonly = wire.read_only(self.in_memory)
        self.out_memory = wire.shared_memory(out_size, "outputs")
        self._out_size = out_size

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        wire.close_all([self.in_memory, self.in_readonly, self.out_memory])

    def poison(self) -> None:
        """Overwrite the outputs, so that nothing is right that was not written now."""
        block = bytes([tensors.POISON]) * min(self._out_size, 4 << 20)
        for offset in range(0, self._out_size, len(block)):
            os.pwrite(self.out_memory, block[: self._out_size - offset], offset)
