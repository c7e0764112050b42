"""Kernels compiled for a GPU that is not there."""

from __future__ import annotations

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


@pytest.mark.skipif(not (have("torch") and have("triton")), reason="needs PyTorch and Triton")
def test_a_kernel_compiles_for_a_gpu_that_is_not_there_and_a_broken_one_does_not(
    tmp_path: Path,
) -> None:
    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ) | {"TRITON_CACHE_DIR": str(tmp_path / "cache")}
        environment.pop("TRITON_INTERPRET", None)
        command = [sys.executable, "-m", "novum.benchmarks.kernels.offline", str(folder)]
        return subprocess.run(
            [*command, "--select", "swiglu"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    done = run(START)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "swiglu_kernel" in done.stdout
    assert "LDG.128" in done.stdout
    source = (START / "swiglu.py").read_text()
    (tmp_path / "swiglu.py").write_text(source.replace("tl.arange(0, BLOCK)", "tl.arange(0, 1000)"))
    broken = run(tmp_path)
    assert broken.returncode == 1
    assert "CompilationError" in broken.stdout
