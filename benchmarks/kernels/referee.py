"""The pristine side: makes hidden inputs, computes the reference and judges outputs.

    python -m novum.benchmarks.kernels.referee SOCKET DEVICE THREADS

Runs the definition's own code, which the user trusts, and never a candidate's. Inputs that were
handed out are
kept here under a key, so that what the candidate does to its copies changes nothing.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from novum.benchmarks.kernels import tensors, wire
from novum.benchmarks.kernels.compare import compare, sketch_bound
from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.dtypes import torch_dtype
from novum.benchmarks.kernels.inputs import draw_inputs
from novum.benchmarks.kernels.roofline import count_operations
from novum.benchmarks.kernels.workload import Tolerance, Workload

Message = dict[str, Any]
KEPT_BYTES = 4 << 30
"""How much device memory stays reserved between two questions: to free it waits for the device."""


class InvalidReference(Exception):
    """The reference fails, or gives NaN on inputs of the base family."""


class Referee:
    """Answers the evaluator; one problem at a time."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device = device
        self.definition: Definition | None = None
        self.module: ModuleType | None = None
        self.roots: list[str] = []
        self.inputs: dict[str, list[Any]] = {}
        self.rms: dict[tuple[str, int], float] = {}
        self.maps = wire.Maps()
        self.folder = folder

    def problem(self, message: Message, _: list[int]) -> Message:
        """Read the definition and import its reference."""
        self.definition = Definition.model_validate(message["definition"])
        self.roots = list(message["roots"])
        self.inputs.clear()
        self.rms.clear()
        self.maps = wire.Maps()
        path = self.folder / "reference.py"
        path.write_text(self.definition.reference)
        spec = importlib.util.spec_from_file_location("reference", path)
        assert spec is not None and spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(self.module)
        except Exception as error:
            raise InvalidReference(
                f"the reference cannot be imported: {self.said(error)}"
            ) from error
        return {}

    def draw(self, message: Message, descriptors: list[int]) -> Message:
        """Make inputs under a key and write them into shared memory."""
        assert self.definition is not None and self.module is not None
        workload = Workload.model_validate(message["workload"])
        entry: Callable[..., Any] | None = None
        if any(source.type == "custom" for source in workload.inputs.values()):
            entry = getattr(self.module, str(self.definition.custom_inputs_entrypoint))
        try:
            values = draw_inputs(
                self.definition,
                workload,
                entry,
                seed=int(message["seed"]),
                family=str(message["family"]),
                device=self.device,
                roots=self.roots,
            )
        except Exception as error:
            raise InvalidReference(f"inputs cannot be made: {self.said(error)}") from error
        memory = self.maps.get(descriptors[0], writable=True)
        slots = list(message["slots"])
        for slot, value in zip(slots, values, strict=True):
            if "offset" in slot:
                tensors.view(memory, slot).copy_(value)
            else:
                slot["value"] = value
        self.inputs[str(message["key"])] = values
        return {"slots": slots}

    def outputs(self, message: Message) -> list[Any]:
        """The reference's outputs for inputs under a key, changed as in a timed call."""
        import torch

        assert self.definition is not None and self.module is not None
        values = self.inputs.get(str(message["key"]))
        if values is None:
            raise InvalidReference("these inputs were lost with an earlier referee")
        draw = message.get("draw")
        given = []
        for place, value in enumerate(values):
            if isinstance(value, torch.Tensor):
                change = None if draw is None else tensors.change_of(value, int(draw), place)
                value = tensors.perturbed(value, change)
            given.append(value)
        try:
            with torch.no_grad():
                found = self.module.run(*given)
        except torch.OutOfMemoryError:
            self.inputs.clear()
            raise
        except Exception as error:
            raise InvalidReference(f"the reference fails: {self.said(error)}") from error
        return self.in_order(found)

    def said(self, error: Exception) -> str:
        """An exception and the last line of the reference that led to it."""
        lines = [
            f" (line {frame.lineno} of the reference: {(frame.line or '').strip()})"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(self.folder / "reference.py")
        ]
        return f"{type(error).__name__}: {str(error)[:1200]}{lines[-1] if lines else ''}"

    def in_order(self, found: Any) -> list[Any]:
        """Outputs as tensors, checked against the definition."""
        import torch

        assert self.definition is not None
        names = list(self.definition.outputs)
        if isinstance(found, dict):
            found = [found[name] for name in names]
        values = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(values) != len(names):
            raise InvalidReference(
                f"the reference gives {len(values)} outputs, the definition has {len(names)}"
            )
        for i, (value, spec) in enumerate(
            zip(values, self.definition.outputs.values(), strict=True)
        ):
            dtype = torch_dtype(spec.dtype)
            if not isinstance(value, torch.Tensor):
                value = torch.tensor(value, dtype=dtype, device=self.device)
            if value.dtype != dtype:
                raise InvalidReference(
                    f"the reference gives {value.dtype} for {names[i]}, not {spec.dtype}"
                )
            values[i] = value
        return values

    def judge(self, message: Message, descriptors: list[int]) -> Message:
        """Compare outputs in shared memory with the reference, computed only now."""
        memory = self.maps.get(descriptors[0], writable=True)
        tolerance = Tolerance.model_validate(message["tolerance"])
        base = message.get("family", "base") == "base"
        findings = []
        for i, (slot, want) in enumerate(zip(message["slots"], self.outputs(message), strict=True)):
            got = tensors.view(memory, slot).to(self.device)
            check_shape(slot, want)
            scale = self.scale(str(message["workload"]), i, want, base)
            if want.is_floating_point() and not bool(
                want.to(got.dtype).isfinite().all() if want.element_size() > 1 else True
            ):
                if not (
                    tolerance.allow_negative_inf
                    and not bool(want.isnan().any() | (want == float("inf")).any())
                ):
                    if base:
                        raise InvalidReference(
                            f"the reference gives NaN or infinity in {slot['name']}"
                        )
                    return {"skipped": f"the reference is not finite in {slot['name']}"}
            found = compare(got, want, tolerance, scale)
            findings.append({"output": slot["name"], **found.__dict__})
        return {"findings": findings}

    def scale(self, workload: str, index: int, want: Any, base: bool) -> float:
        """How much larger than on the base family these outputs are; never below 1."""

        if not want.is_floating_point():
            return 1.0
        rms = float(tensors.numbers(want).pow(2).mean().sqrt()) if want.numel() else 0.0
        key = (workload, index)
        if base:
            self.rms.setdefault(key, rms)
            return 1.0
        known = self.rms.get(key, rms)
        return max(1.0, rms / known) if known > 0 else 1.0

    def sketches(self, message: Message, _: list[int]) -> Message:
        """Sketch and its bound for every timed call and output."""
        tolerance = Tolerance.model_validate(message["tolerance"])
        vector = tensors.sketch_vector(int(message["seed"]), self.device)
        rows = []
        for draw in message["draws"]:
            wants = self.outputs({"key": message["key"], "draw": draw})
            rows.append(
                [(tensors.sketch(want, vector), sketch_bound(want, tolerance)) for want in wants]
            )
        return {"sketches": rows}

    def forget(self, message: Message, _: list[int]) -> Message:
        """Drop the inputs under a key."""
        self.inputs.pop(str(message["key"]), None)
        return {}

    def count(self, message: Message, _: list[int]) -> Message:
        """Operations of the reference on the inputs under a key; its outputs must have the form
        that the definition gives them.
        """
        assert self.module is not None
        run, found = self.module.run, []
        try:
            counts = count_operations(
                lambda *given: found.append(run(*given)), self.inputs[str(message["key"])]
            )
        except Exception as error:
            raise InvalidReference(f"the reference fails: {self.said(error)}") from error
        for slot, value in zip(message["slots"], self.in_order(found[0]), strict=True):
            check_shape(slot, value)
        return {"matmul_flops": counts.matmul_flops, "vector_flops": counts.vector_flops}


def check_shape(slot: tensors.Slot, value: Any) -> None:
    """Refuse a shape that the definition does not give the output.

    Raises:
        InvalidReference: it has another one.
    """
    if list(value.shape) != list(slot["shape"]):
        raise InvalidReference(
            f"the reference gives {slot['name']} the shape {list(value.shape)}, "
            f"the definition {list(slot['shape'])}"
        )


def main(path: str, device: str, threads: int) -> None:
    """Answer until the evaluator hangs up."""
    import torch

    torch.set_num_threads(threads)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(path)
    with tempfile.TemporaryDirectory(prefix="referee-") as folder:
        answer(channel, Referee(device, Path(folder)))


def answer(channel: socket.socket, referee: Referee) -> None:
    """Answer until the evaluator hangs up, or the device is spoiled."""
    import torch

    wire.send(
        channel,
        {
            "hello": os.getpid(),
            "torch": torch.__version__,
            "architecture": architecture_of(referee.device),
        },
    )
    commands = {
        name: getattr(referee, name)
        for name in ("problem", "draw", "judge", "sketches", "forget", "count")
    }
    while True:
        try:
            message, descriptors = wire.receive(channel)
        except wire.WireError:
            return
        try:
            reply = commands[str(message["do"])](message, descriptors)
        except InvalidReference as error:
            reply = {"error": str(error), "kind": "INVALID_REFERENCE"}
        except Exception as error:
            reply = {"error": repr(error)[:1500], "kind": "INVALID_REFERENCE"}
        finally:
            wire.close_all(descriptors)
        if "error" in reply and not tensors.is_usable(referee.device):
            reply["last"] = True  # the reference has broken the device's context
        else:
            tensors.tidy(referee.device, KEPT_BYTES)
        try:
            wire.send(channel, reply)
        except wire.WireError:
            return
        if "last" in reply:
            return


def architecture_of(device: str) -> str:
    """The compute capability of a GPU as compilers are told it; empty where there is none."""
    import torch

    try:
        major, minor = torch.cuda.get_device_capability(device)
    except (RuntimeError, AssertionError, ValueError):
        return ""
    return f"{major}.{minor}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stderr.flush()
    os._exit(0)  # to take PyTorch down piece by piece takes longer than some evaluations
