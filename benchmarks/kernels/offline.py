"""Compiles the Triton kernels of solutions for a GPU that is not there, and says what they need.

    python -m novum.benchmarks.kernels.offline FOLDER [--select NAMES] [--keep OUT]

Every solution runs on the shapes of its GPU workloads with tensors that have no memory; each
launch is compiled for the named architecture with the very types, constants and alignments that
it would have there, and never started. What only the interpreter accepts fails here. Needs Triton
3.4 or later.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from novum.benchmarks.kernels.problem import SHIPPED, Problem, load_problems
from novum.benchmarks.kernels.workload import ScalarInput, Workload

REGISTERS = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True)
class Compiled:
    """One kernel as it would be launched."""

    name: str
    registers: int
    stack_bytes: int
    """Spills and arrays that a thread keeps in local memory."""
    shared_bytes: int
    warps: int
    stages: int
    programs: int
    instructions: str
    """Counts of those that tell whether loads are wide and products are on the matrix units."""

    def __str__(self) -> str:
        return (
            f"{self.name:28} regs {self.registers:3} spill {self.stack_bytes:4} "
            f"shared {self.shared_bytes:6} warps {self.warps:2} stages {self.stages} "
            f"programs {self.programs:7} {self.instructions}"
        )


class Recorder:
    """Stands in for the launcher of every kernel: compiles, writes down, starts nothing."""

    def __init__(self, arch: int, keep: Path | None) -> None:
        import triton
        from triton.runtime import jit

        self.found: list[Compiled] = []
        self.keep = keep
        triton.runtime.driver.set_active(no_driver(arch))
        usual = jit.JITFunction.run
        recorder = self

        def run(kernel: Any, *words: Any, grid: Any, warmup: bool, **options: Any) -> Any:
            del warmup
            made = usual(kernel, *words, grid=grid, warmup=True, **options)
            names = [parameter.name for parameter in kernel.params]
            size = grid(dict(zip(names, words, strict=False)) | options) if callable(grid) else grid
            recorder.note(made, math.prod(size))
            return made

        jit.JITFunction.run = run

    def note(self, made: Any, programs: int) -> None:
        """Read the resources of a compiled kernel off its binary."""
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(made.asm["cubin"])
            file.flush()
            usage = dump(file.name, "--dump-resource-usage")
            sass = dump(file.name, "-sass")
        registers, stack, _, local = map(int, REGISTERS.findall(usage)[-1])
        facts = made.metadata
        self.found.append(
            Compiled(
                name=facts.name,
                registers=registers,
                stack_bytes=max(stack, local),
                shared_bytes=facts.shared,
                warps=facts.num_warps,
                stages=facts.num_stages,
                programs=programs,
                instructions=told(sass),
            )
        )
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            for kind, text in (
                ("sass", sass),
                ("ptx", made.asm["ptx"]),
                ("ttgir", made.asm["ttgir"]),
            ):
                (self.keep / f"{facts.name}.{kind}").write_text(str(text))


def told(sass: str) -> str:
    """Counts of telling instructions: products, wide and narrow accesses, special functions."""
    kinds = {
        "HGMMA": r"\bHGMMA",
        "HMMA": r"\bHMMA",
        "TMA": r"\bUTMA",
        "LDGSTS": r"\bLDGSTS",
        "LDG.128": r"\bLDG\S*\.128",
        "LDG": r"\bLDG\.",
        "STG.128": r"\bSTG\S*\.128",
        "STG": r"\bSTG\.",
        "MUFU": r"\bMUFU",
        "BAR": r"\bBAR\.",
    }
    counts = {name: len(re.findall(pattern, sass)) for name, pattern in kinds.items()}
    return " ".join(f"{name}={count}" for name, count in counts.items() if count)


def dump(path: str, option: str) -> str:
    """What cuobjdump, which Triton brings, says of a binary."""
    import triton.knobs

    tool = triton.knobs.nvidia.cuobjdump.path
    done = subprocess.run([tool, option, path], capture_output=True, text=True, check=True)
    return done.stdout


def no_driver(arch: int) -> Any:
    """A driver without a device, for a compute capability such as 90."""
    from triton.backends.compiler import GPUTarget

    class NoDriver:
        def get_current_target(self) -> Any:
            return GPUTarget("cuda", arch, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, _: int) -> int:
            return 0

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"{name}: there is no device")

    return NoDriver()


def arguments(problem: Problem, workload: Workload) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of a workload as tensors without memory; scalars as they are."""
    import torch

    definition = problem.definition
    sizes = definition.sizes(workload.axes)

    def empty(spec: Any) -> Any:
        shape = definition.shape(spec, sizes)
        return torch.empty(shape or (), dtype=getattr(torch, spec.dtype), device="meta")

    inputs: list[Any] = []
    for name, spec in definition.inputs.items():
        source = workload.inputs[name]
        inputs.append(source.value if isinstance(source, ScalarInput) else empty(spec))
    return inputs, [empty(spec) for spec in definition.outputs.values()]


def imported(path: Path) -> ModuleType:
    """A solution's module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compile_all(folder: Path, problems: Sequence[Problem], recorder: Recorder) -> int:
    """Compile each problem's launches and print them; gives how many solutions fail."""
    failures = 0
    for problem in problems:
        path = folder / f"{problem.name}.py"
        if not path.is_file():
            continue
        print(f"== {problem.name}")
        seen: set[str] = set()
        for workload in problem.sound:
            recorder.found.clear()
            try:
                run = imported(path).run
                inputs, outputs = arguments(problem, workload)
                returns = run.__code__.co_argcount == len(inputs)
                run(*inputs, *([] if returns else outputs))
            except Exception as error:
                failures += 1
                print(f"   {dict(workload.axes)}: {type(error).__name__}: {str(error)[-1500:]}")
            for compiled in recorder.found:
                if str(compiled) not in seen:
                    seen.add(str(compiled))
                    print(f"   {compiled}")
    return failures


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a kernel does not compile."""
    parser = argparse.ArgumentParser(prog="offline", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--select", default="*", help="names or globs, with commas between them")
    parser.add_argument("--arch", default=90, type=int, help="compute capability, 90 for an H100")
    parser.add_argument("--keep", type=Path, help="folder for PTX, SASS and Triton's own code")
    chosen = parser.parse_args(words)
    problems = load_problems(SHIPPED, chosen.select.split(","), "cuda")
    return int(compile_all(chosen.folder, problems, Recorder(chosen.arch, chosen.keep)) > 0)


if __name__ == "__main__":
    sys.exit(main())
