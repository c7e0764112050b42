"""One process that runs a solution for the evaluator; nothing it says is believed unchecked.

Copied with `worker.py` into the sandbox: nothing of Novum is importable there.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

if __package__:
    from novum.benchmarks.kernels import answers, tensors, timed, wire
else:
    import answers  # type: ignore[import-not-found,no-redef]
    import tensors  # type: ignore[import-not-found,no-redef]
    import timed  # type: ignore[import-not-found,no-redef]
    import wire  # type: ignore[import-not-found,no-redef]

Message = dict[str, Any]
OWN = ("answers", "offspring", "runner", "tensors", "timed", "wire", "worker")
"""The modules that measure here, as they are called beside the worker."""
PROFILED_CALLS = 3
REHEARSAL = 0
"""The draw of calls that nobody times."""
COMMANDS = (
    "begin",
    "load",
    "check",
    "stage",
    "ready",
    "time",
    "sketch",
    "collect",
    "profile",
    "release",
)


@dataclass
class Stage:
    """What lies on the device for the timed calls of one workload."""

    bases: list[Any]
    """Inputs as they were drawn; each call gets them changed in a way of its own."""
    out_slots: list[tensors.Slot]
    sets: list[list[Any]] = field(default_factory=list)
    outputs: list[list[Any]] = field(default_factory=list)
    marks: list[timed.Marks] = field(default_factory=list)
    """Of the outputs of each call, from when its clock stopped."""
    flush: Any = None


class Runner:
    """Answers the evaluator's commands with the solution that it loaded."""

    def __init__(self, channel: socket.socket, device: str) -> None:
        self.channel = channel
        self.device = device
        self.run: Callable[..., Any] | None = None
        self.returns = False
        self.stages: dict[str, Stage] = {}
        self.maps = wire.Maps()

    def serve(self) -> None:
        """Answer until the evaluator hangs up."""
        wire.send(self.channel, {"hello": os.getpid()})
        commands: dict[str, Callable[[Message, list[int]], Message]] = {
            name: getattr(self, name) for name in COMMANDS
        }
        while True:
            try:
                message, descriptors = wire.receive(self.channel)
            except wire.WireError:
                return
            try:
                reply = commands[str(message["do"])](message, descriptors)
            except answers.Refused as refusal:
                reply = {"error": str(refusal), "kind": refusal.kind}
            except BaseException as error:  # the candidate may raise anything, SystemExit included
                reply = {"error": answers.last_lines(error), "kind": answers.kind_of(error)}
            finally:
                wire.close_all(descriptors)
            try:
                wire.send(self.channel, reply)
            except wire.WireError:
                return

    def begin(self, _: Message, __: list[int]) -> Message:
        """Make the device's context, before anything of the solution is there."""
        import torch

        torch.zeros(1, device=self.device)
        self.synchronize()
        return {}

    def load(self, message: Message, _: list[int]) -> Message:
        """Import the entry file and find its function."""
        if not __package__:
            hide_own(Path(__file__).parent)
        began = time.perf_counter()
        folder = Path(str(message["folder"]))
        sys.path.insert(0, str(folder))
        path = folder / str(message["file"])
        spec = importlib.util.spec_from_file_location(str(message.get("module") or path.stem), path)
        if spec is None or spec.loader is None:
            raise answers.Refused("COMPILE_ERROR", f"{path.name} cannot be imported")
        try:
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            self.run = getattr(module, str(message["function"]))
        except BaseException as error:  # the candidate may raise anything, SystemExit included
            raise answers.Refused("COMPILE_ERROR", answers.last_lines(error)) from error
        self.returns = bool(message["returns"])
        return {"load_s": time.perf_counter() - began}

    def check(self, message: Message, descriptors: list[int]) -> Message:
        """One call on inputs from shared memory; outputs go back into shared memory."""
        memory = self.maps.get(descriptors[0], writable=False)
        result = self.maps.get(descriptors[1], writable=True)
        inputs = self.upload(memory, message["inputs"])
        before = [answers.fingerprint(value) for value in inputs]
        outputs = self.call(inputs, message["outputs"])
        at_return = [answers.fingerprint(value) for value in outputs]
        self.synchronize()
        notes = []
        if before != [answers.fingerprint(value) for value in inputs]:
            notes.append("inputs-changed")
        if any(answers.shares(out, value) for out in outputs for value in inputs):
            notes.append("output-aliases-input")
        for slot, out in zip(message["outputs"], outputs, strict=True):
            tensors.view(result, slot).copy_(out)
        if at_return != [answers.fingerprint(value) for value in outputs]:
            notes.append("output-changed-after-return")
        del inputs, outputs
        tensors.tidy(self.device, keep_bytes=1 << 30)
        return {"notes": notes}

    def stage(self, message: Message, descriptors: list[int]) -> Message:
        """Inputs of a workload to the device, and warm-ups on others."""
        memory = self.maps.get(descriptors[0], writable=False)
        bases = self.upload(memory, message["inputs"])
        stage = self.stages[str(message["key"])] = Stage(bases, list(message["outputs"]))
        for _ in range(int(message["warmups"])):
            self.call(self.copies(bases, REHEARSAL), stage.out_slots)
        self.synchronize()
        tensors.tidy(self.device)
        return {}

    def ready(self, message: Message, _: list[int]) -> Message:
        """Room for every timed call at addresses of its own, and a rehearsal."""
        import torch

        stage = self.stages[str(message["key"])]
        calls = range(int(message["calls"]))
        stage.sets = [[self.empty_like(value) for value in stage.bases] for _ in calls]
        stage.outputs = [[] if self.returns else self.blank(stage.out_slots) for _ in calls]
        # A solution that returns its outputs allocates them in the timed call: the allocator must
        # have that memory already, beside what the calls need in between.
        spare = [self.blank(stage.out_slots) for _ in calls] if self.returns else []
        if self.device != "cpu":
            size = int(message["flush_bytes"])
            stage.flush = torch.empty(size, dtype=torch.uint8, device=self.device)
        self.rehearse(stage)
        del spare
        self.synchronize()
        peak = torch.cuda.max_memory_allocated() if self.device != "cpu" else 0
        return {"peak_bytes": peak}

    def rehearse(self, stage: Stage) -> None:
        """A call as the timed ones, sketch included, at addresses that none of them has: what is
        loaded or made at its first use is there before a clock runs.
        """
        assert self.run is not None
        inputs = [self.empty_like(value) for value in stage.bases]
        outputs = [] if self.returns else self.blank(stage.out_slots)
        _, results, _ = self.time_calls(self.run, stage, [inputs], [outputs], [REHEARSAL])
        if self.returns:
            outputs = answers.in_order(results[0], stage.out_slots, self.device)
        vector = tensors.sketch_vector(0, self.device)
        for output in outputs:
            tensors.sketch(output, vector)

    def time_calls(
        self,
        run: Callable[..., Any],
        stage: Stage,
        sets: Sequence[list[Any]],
        outputs: Sequence[list[Any]],
        draws: Sequence[int],
    ) -> tuple[list[float], list[Any], list[timed.Marks]]:
        """Seconds of each call, what they returned, and marks of that."""
        if self.device == "cpu":
            return timed.time_on_cpu(run, stage.bases, sets, outputs, draws)
        return timed.time_on_gpu(run, stage.bases, sets, outputs, draws, stage.flush)

    def time(self, message: Message, _: list[int]) -> Message:
        """Every call once, in order; seconds of each."""
        run = self.run
        assert run is not None
        stage = self.stages[str(message["key"])]
        draws = [int(draw) for draw in message["draws"]]
        seconds, results, stage.marks = self.time_calls(
            run, stage, stage.sets, stage.outputs, draws
        )
        if self.returns:
            in_order = answers.in_order
            stage.outputs = [in_order(r, stage.out_slots, self.device) for r in results]
        return {"seconds": seconds}

    def sketch(self, message: Message, _: list[int]) -> Message:
        """Random projections of all outputs of the timed calls, with a vector named only now."""
        answers.refuse_modes()
        vector = tensors.sketch_vector(int(message["seed"]), self.device)
        stage = self.stages[str(message["key"])]
        rows = [[tensors.sketch(out, vector) for out in outputs] for outputs in stage.outputs]
        if late := timed.changed(stage.marks):
            what = f"the output of timed call {late[0]} changed after its clock had stopped"
            raise answers.Refused("REWARD_HACK", what)
        return {"sketches": rows}

    def collect(self, message: Message, descriptors: list[int]) -> Message:
        """The outputs of one timed call, which the evaluator picks only now."""
        answers.refuse_modes()
        result = self.maps.get(descriptors[0], writable=True)
        stage = self.stages[str(message["key"])]
        outputs = stage.outputs[int(message["call"])]
        for slot, out in zip(stage.out_slots, outputs, strict=True):
            tensors.view(result, slot).copy_(out)
        return {}

    def profile(self, message: Message, _: list[int]) -> Message:
        """A few calls under the profiler."""
        assert self.run is not None
        stage = self.stages[str(message["key"])]
        calls = range(PROFILED_CALLS)
        sets = [self.copies(stage.bases, REHEARSAL + i) for i in calls]
        outputs = [[] if self.returns else self.blank(stage.out_slots) for _ in calls]
        self.synchronize()
        return {"calls": timed.profiled(self.run, sets, outputs, self.device != "cpu")}

    def release(self, message: Message, _: list[int]) -> Message:
        """Give memory back to the device: all of a workload's, or all but its outputs."""
        key = str(message["key"])
        if message.get("outputs", True):
            self.stages.pop(key, None)
        elif key in self.stages:
            stage = self.stages[key]
            stage.bases, stage.sets, stage.flush, stage.marks = [], [], None, []
        tensors.tidy(self.device)
        return {}

    def upload(self, memory: mmap.mmap, slots: Sequence[tensors.Slot]) -> list[Any]:
        """Inputs on the device, each a copy of its own; scalars as they are."""
        values: list[Any] = []
        for slot in slots:
            if "value" in slot:
                values.append(slot["value"])
            else:
                stored = tensors.view(memory, slot)
                values.append(stored.clone() if self.device == "cpu" else stored.to(self.device))
        return values

    def copies(self, values: list[Any], draw: int) -> list[Any]:
        """The inputs of a call that is not timed."""
        (changes,) = timed.changes_of(values, [draw])
        return [
            tensors.perturbed(value, change) if hasattr(value, "data_ptr") else value
            for value, change in zip(values, changes, strict=True)
        ]

    def empty_like(self, value: Any) -> Any:
        """A tensor to be filled later; scalars as they are."""
        import torch

        return torch.empty_like(value) if hasattr(value, "data_ptr") else value

    def call(self, inputs: list[Any], slots: Sequence[tensors.Slot]) -> list[Any]:
        """One call in the candidate's own style; outputs as plain tensors."""
        assert self.run is not None
        if self.returns:
            return answers.in_order(self.run(*inputs), slots, self.device)
        outputs = self.blank(slots)
        self.run(*inputs, *outputs)
        return outputs

    def blank(self, slots: Sequence[tensors.Slot]) -> list[Any]:
        """Fresh outputs full of poison."""
        return [tensors.poisoned(slot, self.device) for slot in slots]

    def synchronize(self) -> None:
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()


def hide_own(folder: Path) -> None:
    """Let an import by name find none of the modules that measure: one that is imported anew is
    another one, and to change it changes nothing.
    """
    for name in OWN:
        sys.modules.pop(name, None)
    sys.modules["__main__"] = ModuleType("__main__")
    sys.path[:] = [entry for entry in sys.path if Path(entry) != folder]
