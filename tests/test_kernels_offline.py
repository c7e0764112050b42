"""Kernels compiled for a GPU that is not there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from novum.benchmarks.kernels.offline import arguments, told
from novum.benchmarks.kernels.problem import SHIPPED, load_problems

START = SHIPPED.parent / "start" / "triton"
SASS = """
    /*0010*/ LDG.E.128 R4, desc[UR4][R2.64] ;
    /*0020*/ LDG.E R8, desc[UR4][R2.64+0x10] ;
    /*0030*/ HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24 ;
    /*0040*/ STG.E.128 desc[UR4][R10.64], R4 ;
"""


def have(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def test_instructions_are_counted_by_what_they_tell() -> None:
    assert told(SASS) == "HGMMA=1 LDG.128=1 LDG=2 STG.128=1 STG=1"


@pytest.mark.skipif(not have("torch"), reason="needs PyTorch")
def test_arguments_have_the_shapes_of_the_workload_and_no_memory() -> None:
    (problem,) = load_problems(SHIPPED, ["rmsnorm"], "cuda")
    inputs, outputs = arguments(problem, problem.workloads[0])
    assert [tuple(x.shape) for x in inputs[:2]] == [(2048, 4096), (4096,)]
    assert inputs[2] == pytest.approx(1e-5)
    assert outputs[0].device.type == "meta"


def triton_release() -> tuple[int, ...]:
    """The first two numbers of the Triton that is installed; none where there is none."""
    try:
        return tuple(int(part) for part in importlib.metadata.version("triton").split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return ()


def changed(name: str, old: str, new: str) -> str:
    """A shipped solution with something put in place of a text that stands there."""
    source = (START / f"{name}.py").read_text()
    assert old in source
    return source.replace(old, new)


@pytest.mark.skipif(
    not have("torch") or triton_release() < (3, 4),
    reason="needs PyTorch and Triton 3.4, the first that says where its cuobjdump lies",
)
def test_a_kernel_compiles_for_a_gpu_that_is_not_there_and_a_broken_one_does_not(
    tmp_path: Path,
) -> None:
    def run(folder: Path) -> tuple[int, dict[str, str]]:
        """Exit status, and what is said of each solution."""
        environment = dict(os.environ) | {"TRITON_CACHE_DIR": str(tmp_path / "cache")}
        environment.pop("TRITON_INTERPRET", None)
        command = [sys.executable, "-m", "novum.benchmarks.kernels.offline", str(folder)]
        done = subprocess.run(
            [*command, "--select", "bias_gelu,swiglu"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        parts = [part.partition("\n") for part in done.stdout.split("== ")[1:]]
        assert parts, done.stderr
        return done.returncode, {name: text for name, _, text in parts}

    status, said = run(START)
    assert status == 0, said
    assert "gelu_kernel" in said["bias_gelu"]
    for instruction in ("LDG=", "STG=", "MUFU="):  # it loads, stores and takes an exponential
        assert instruction in said["swiglu"]

    # 2048 numbers of two bytes over 8 warps: sixteen bytes a thread, the widest access.
    (tmp_path / "swiglu.py").write_text(changed("swiglu", "BLOCK = 1024", "BLOCK = 2048"))
    odd = changed("bias_gelu", "tl.arange(0, BLOCK)", "tl.arange(0, 1000)")
    (tmp_path / "bias_gelu.py").write_text(odd)
    status, said = run(tmp_path)
    assert status == 1
    assert "CompilationError" in said["bias_gelu"]
    assert "LDG.128=" in said["swiglu"] and "STG.128=" in said["swiglu"]
