"""Runs candidate code for the evaluator. It judges nothing, and nothing it says is believed
unchecked.

    python worker.py SOCKET DEVICE

PyTorch is imported once; each `fork` message then gives a child with its own connection (and on
a GPU its
own context) that imports the candidate. The child answers `load`, `check`, `stage`, `time`,
`sketch` and
`collect`. Inputs and outputs travel through shared memory that the evaluator owns.

Copied with `wire.py` and `tensors.py` into the sandbox: nothing of Novum is importable there.
"""

from __future__ import annotations

import importlib.util
import inspect
import mmap
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __package__:
    from novum.benchmarks.kernels import tensors, wire
else:
    import tensors  # type: ignore[import-not-found,no-redef]
    import wire  # type: ignore[import-not-found,no-redef]

Message = dict[str, Any]


class Refused(Exception):
    """The candidate's answer has the wrong form; `kind` is a status of the format or `HACK`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Child:
    """One process that runs the candidate."""

    def __init__(self, channel: socket.socket, device: str) -> None:
        self.channel = channel
        self.device = device
        self.run: Callable[..., Any] | None = None
        self.returns = False
        self.sets: list[list[Any]] = []
        self.outputs: list[list[Any]] = []
        self.out_slots: list[tensors.Slot] = []
        self.prints: list[list[float]] = []

    def serve(self) -> None:
        """Answer until the evaluator hangs up."""
        wire.send(self.channel, {"hello": os.getpid()})
        commands: dict[str, Callable[[Message, list[int]], Message]] = {
            "load": self.load,
            "check": self.check,
            "stage": self.stage,
            "time": self.time,
            "sketch": self.sketch,
            "collect": self.collect,
            "profile": self.profile,
        }
        while True:
            try:
                message, descriptors = wire.receive(self.channel)
            except wire.WireError:
                return
            try:
                reply = commands[str(message["do"])](message, descriptors)
            except Refused as refusal:
                reply = {"error": str(refusal), "kind": refusal.kind}
            except BaseException as error:  # the candidate may raise anything, SystemExit included
                reply = {"error": last_lines(error), "kind": kind_of(error)}
            finally:
                wire.close_all(descriptors)
            try:
                wire.send(self.channel, reply)
            except wire.WireError:
                return

    def load(self, message: Message, _: list[int]) -> Message:
        """Import the entry file and find its function."""
        began = time.perf_counter()
        folder = Path(str(message["folder"]))
        sys.path.insert(0, str(folder))
        path = folder / str(message["file"])
        spec = importlib.util.spec_from_file_location(str(message.get("module") or path.stem), path)
        if spec is None or spec.loader is None:
            raise Refused("COMPILE_ERROR", f"{path.name} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        self.run = getattr(module, str(message["function"]))
        self.returns = bool(message["returns"])
        return {"load_s": time.perf_counter() - began}

    def check(self, message: Message, descriptors: list[int]) -> Message:
        """One call on inputs from shared memory; outputs go back into shared memory."""
        memory = wire.mapped(descriptors[0], writable=False)
        result = wire.mapped(descriptors[1], writable=True)
        inputs = self.upload(memory, message["inputs"])
        before = [fingerprint(value) for value in inputs]
        outputs = self.call(inputs, message["outputs"])
        at_return = [fingerprint(value) for value in outputs]
        self.synchronize()
        notes = []
        if before != [fingerprint(value) for value in inputs]:
            notes.append("inputs-changed")
        if any(shares(out, value) for out in outputs for value in inputs):
            notes.append("output-aliases-input")
        for slot, out in zip(message["outputs"], outputs, strict=True):
            tensors.view(result, slot).copy_(out)
        if at_return != [fingerprint(value) for value in outputs]:
            notes.append("output-changed-after-return")
        del inputs, outputs
        tensors.tidy(self.device)
        return {"notes": notes}

    def stage(self, message: Message, descriptors: list[int]) -> Message:
        """Make the inputs of every timed call at addresses of their own, and run warm-ups on
        others.
        """
        import torch

        self.sets, self.outputs, self.prints = [], [], []
        memory = wire.mapped(descriptors[0], writable=False)
        base = self.upload(memory, message["inputs"])
        self.out_slots = message["outputs"]
        if not base:  # a release: give the memory back to the device
            tensors.tidy(self.device)
            return {}
        for factor in message["factors"]:
            self.sets.append([self.copy(value, float(factor)) for value in base])
            self.outputs.append([] if self.returns else self.blank(self.out_slots))
        # A solution that returns its outputs allocates them in the timed call: the allocator must
        # have that memory already, beside what the calls need in between.
        spare = [self.blank(self.out_slots) for _ in self.sets] if self.returns else []
        for _ in range(int(message["warmups"])):
            self.call([self.copy(value, 0.9) for value in base], self.out_slots)
        del spare
        self.synchronize()
        peak = torch.cuda.max_memory_allocated() if self.device != "cpu" else 0
        return {"peak_bytes": peak}

    def time(self, message: Message, _: list[int]) -> Message:
        """Every staged set once, in order, from a cold cache; seconds of each call."""
        run = self.run
        assert run is not None
        if self.device == "cpu":
            return {"seconds": self.time_on_cpu(run)}
        return self.time_on_gpu(run, int(message["flush_bytes"]))

    def time_on_cpu(self, run: Callable[..., Any]) -> list[float]:
        seconds = []
        for i, (inputs, outputs) in enumerate(zip(self.sets, self.outputs, strict=True)):
            began = time.perf_counter()
            result = run(*inputs, *outputs)
            seconds.append(time.perf_counter() - began)
            if self.returns:
                self.outputs[i] = self.normal(result, self.out_slots)
        return seconds

    def time_on_gpu(self, run: Callable[..., Any], flush_bytes: int) -> Message:
        import torch

        flush = torch.empty(flush_bytes, dtype=torch.uint8, device=self.device)
        event: Any = torch.cuda.Event
        pairs = [(event(enable_timing=True), event(enable_timing=True)) for _ in self.sets]
        results: list[Any] = []
        forget_persisting_lines()
        torch.cuda.synchronize()
        for (start, end), inputs, outputs in zip(pairs, self.sets, self.outputs, strict=True):
            flush.zero_()
            start.record()
            result = run(*inputs, *outputs)
            end.record()
            results.append(result)
        torch.cuda.synchronize()
        seconds = [start.elapsed_time(end) / 1e3 for start, end in pairs]
        if self.returns:
            self.outputs = [self.normal(result, self.out_slots) for result in results]
        return {"seconds": seconds}

    def sketch(self, message: Message, _: list[int]) -> Message:
        """Random projections of all outputs of the timed calls, with a vector named only now."""
        vector = tensors.sketch_vector(int(message["seed"]), self.device)
        self.prints = [[tensors.sketch(out, vector) for out in outputs] for outputs in self.outputs]
        return {"sketches": self.prints}

    def collect(self, message: Message, descriptors: list[int]) -> Message:
        """The outputs of one timed call, which the evaluator picks only now."""
        result = wire.mapped(descriptors[0], writable=True)
        for slot, out in zip(self.out_slots, self.outputs[int(message["call"])], strict=True):
            tensors.view(result, slot).copy_(out)
        return {}

    def profile(self, _: Message, __: list[int]) -> Message:
        """Time and names of the kernels (operations on a CPU) of staged calls, from a trace."""
        from torch.profiler import ProfilerActivity, profile

        run = self.run
        assert run is not None
        wanted = "CPU" if self.device == "cpu" else "CUDA"
        activity = ProfilerActivity.CPU if self.device == "cpu" else ProfilerActivity.CUDA
        calls = []
        for inputs, outputs in list(zip(self.sets, self.outputs, strict=True))[:3]:
            self.synchronize()
            with profile(activities=[activity]) as trace:
                run(*inputs, *([] if self.returns else outputs))
                self.synchronize()
            events = [e for e in trace.events() if e.device_type.name == wanted]
            names = sorted(e.name[:120] for e in events)
            spent = [e.self_cpu_time_total if wanted == "CPU" else e.device_time for e in events]
            calls.append({"seconds": sum(spent) / 1e6, "kernels": names})
        return {"calls": calls}

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

    def copy(self, value: Any, factor: float) -> Any:
        return tensors.perturbed(value, factor) if hasattr(value, "data_ptr") else value

    def call(self, inputs: list[Any], slots: Sequence[tensors.Slot]) -> list[Any]:
        """One call in the candidate's own style; outputs as plain tensors."""
        assert self.run is not None
        if self.returns:
            return self.normal(self.run(*inputs), slots)
        outputs = self.blank(slots)
        self.run(*inputs, *outputs)
        return outputs

    def blank(self, slots: Sequence[tensors.Slot]) -> list[Any]:
        """Fresh outputs full of poison."""
        return [tensors.poisoned(slot, self.device) for slot in slots]

    def normal(self, result: Any, slots: Sequence[tensors.Slot]) -> list[Any]:
        """Returned outputs in order, of the right type, shape and dtype.

        Raises:
            Refused: they are not.
        """
        import torch

        names = [slot["name"] for slot in slots]
        if isinstance(result, dict):
            if set(result) != set(names):
                raise Refused(
                    "INCORRECT_SHAPE", f"returned {sorted(map(str, result))}, wanted {names}"
                )
            values = [result[name] for name in names]
        else:
            values = list(result) if isinstance(result, (tuple, list)) else [result]
        if len(values) != len(slots):
            raise Refused("INCORRECT_SHAPE", f"returned {len(values)} outputs, wanted {names}")
        for i, (value, slot) in enumerate(zip(values, slots, strict=True)):
            want = getattr(torch, slot["dtype"])
            if isinstance(value, (bool, int, float)) and slot["shape"] == []:
                values[i] = value = torch.tensor(value, dtype=want, device=self.device)
            if type(value) is not torch.Tensor:
                raise Refused(
                    "HACK", f"{slot['name']} is a {type(value).__name__}, not a plain tensor"
                )
            if list(value.shape) != slot["shape"]:
                raise Refused(
                    "INCORRECT_SHAPE",
                    f"{slot['name']} is {list(value.shape)}, wanted {slot['shape']}",
                )
            if value.dtype != want:
                raise Refused("INCORRECT_DTYPE", f"{slot['name']} is {value.dtype}, wanted {want}")
        return values

    def synchronize(self) -> None:
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()


def fingerprint(value: Any) -> Any:
    """A digest of a tensor's bytes, computed where it lies; scalars are their own."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    raw = value.detach().contiguous().view(-1)
    if not raw.numel():
        return (0, 0)
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[raw.element_size()]
    bits = raw.view(width)
    odd = bits[1::2].sum(dtype=torch.int64)  # order counts a little
    return (int(bits.sum(dtype=torch.int64)), int(odd))


def shares(out: Any, value: Any) -> bool:
    """Whether two tensors lie in the same storage."""
    if not (hasattr(out, "untyped_storage") and hasattr(value, "untyped_storage")):
        return False
    left, right = out.untyped_storage(), value.untyped_storage()
    return bool(left.nbytes() and left.data_ptr() == right.data_ptr())


def forget_persisting_lines() -> None:
    """Reset lines that an access policy keeps in the second-level cache, where the runtime can."""
    import ctypes

    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libcudart" in line:
            try:
                ctypes.CDLL(line.split()[-1]).cudaCtxResetPersistingL2Cache()
            except (OSError, AttributeError):
                continue
            return


def kind_of(error: BaseException) -> str:
    """Which status of the trace format an exception stands for."""
    if type(error).__name__ in (
        "CompilationError",
        "CompileTimeAssertionFailure",
        "SyntaxError",
        "PTXASError",
    ):
        return "COMPILE_ERROR"
    return "RUNTIME_ERROR"


def last_lines(error: BaseException, limit: int = 1500) -> str:
    """The end of a traceback."""
    try:
        return "".join(traceback.format_exception(error))[-limit:]
    except Exception:
        return type(error).__name__


def parameters_of(function: Callable[..., Any]) -> int:
    """How many positional parameters a function takes."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds for p in inspect.signature(function).parameters.values())


def connect(path: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(path)
    return channel


def main(path: str, device: str, threads: int) -> None:
    """Import PyTorch, then fork a child for each request until the evaluator hangs up."""
    import torch

    torch.set_num_threads(threads)
    control = connect(path)
    wire.send(control, {"hello": 0, "torch": torch.__version__})
    while True:
        try:
            message, descriptors = wire.receive(control)
        except wire.WireError:
            return
        wire.close_all(descriptors)
        if message.get("do") != "fork":
            return
        reap()
        pid = os.fork()
        if pid == 0:
            control.close()
            os.environ.update({str(k): str(v) for k, v in dict(message.get("env", {})).items()})
            code = 1
            try:
                Child(connect(path), device).serve()
                code = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)  # a candidate's exit handlers and threads are not waited for


def reap() -> None:
    """Collect children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
