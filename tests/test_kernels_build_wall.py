"""The compile stage shows the compilers and the sources: nothing of the grader can be taken in."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from novum.benchmarks.kernels.build import MODULE, BuildFailed, build
from novum.benchmarks.kernels.parties import Launch
from novum.benchmarks.kernels.solution import BuildSpec, Solution, SourceFile
from novum.errors import SandboxUnavailable
from novum.sandboxes.bubblewrap import BubblewrapSandbox

if importlib.util.find_spec("torch") is None or not (shutil.which("g++") and shutil.which("ninja")):
    pytest.skip("the stage compiles by PyTorch, g++ and ninja", allow_module_level=True)

WORKLOADS = Path(__file__).parents[1] / "benchmarks/kernels/problems/rmsnorm/workload.jsonl"
MARK = b"the text of a file of its own"
TAKES = """
asm(".section .rodata\\nanswer: .incbin \\"{path}\\"\\n.previous");
extern "C" int run() {{ return 1; }}
"""


@pytest.fixture
def launch() -> Launch:
    sandbox = BubblewrapSandbox()
    try:
        sandbox.check()
    except SandboxUnavailable as error:
        pytest.skip(f"bubblewrap cannot run here: {error}")
    return sandbox.start


def taking(path: str) -> Solution:
    """A solution that has the assembler take a file into its module."""
    spec = BuildSpec(
        languages=("cuda_cpp",), target_hardware=("LOCAL",), entry_point="kernel.cpp::run"
    )
    sources = (
        SourceFile(path="kernel.cpp", content=TAKES.format(path=path)),
        SourceFile(path="own.txt", content=MARK.decode()),
    )
    return Solution(name="taker", definition="rmsnorm", author="x", spec=spec, sources=sources)


def test_a_file_of_the_grader_cannot_be_taken_in_and_one_of_the_solution_can(
    launch: Launch, tmp_path: Path
) -> None:
    secret = tmp_path / "answers.txt"
    secret.write_bytes(MARK)
    for outside in (WORKLOADS, secret):
        assert outside.is_file()
        with pytest.raises(BuildFailed, match="file not found"):
            build(taking(str(outside)), launch)
    # by a relative path too: the compiler works in a folder beside the sources
    module = build(taking("../../code/sources/own.txt"), launch)[f"{MODULE}.so"]
    assert MARK in module, "the wall was not what kept the others out"
