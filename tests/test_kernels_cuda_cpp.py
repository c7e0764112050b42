"""CUDA C++: the shipped example, the flags and the compile stage, as far as no GPU is needed."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from novum.benchmarks.kernels import build as stage
from novum.benchmarks.kernels.arms import Arms
from novum.benchmarks.kernels.baselines import baseline
from novum.benchmarks.kernels.build import build, check_flags, find_toolkit
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.evaluator import Evaluator, Plan
from novum.benchmarks.kernels.gate import Gate
from novum.benchmarks.kernels.parties import RefereeProcess
from novum.benchmarks.kernels.problem import Problem, load_problems
from novum.benchmarks.kernels.roofline import Ceilings
from novum.benchmarks.kernels.solution import CompileOptions, Solution
from novum.benchmarks.kernels.trace import Status
from novum.sandboxes.process import ProcessSandbox
from novum.sandboxes.protocol import Confinement, Exit, ExitCause

PACK = Path(__file__).parents[1] / "benchmarks" / "kernels"
EXAMPLE = PACK / "examples" / "cuda_cpp" / "rmsnorm.cu"


@dataclass
class Finished:
    """A process that has ended."""

    exit: Exit
    is_running: bool = False

    def cpu_s(self) -> float:
        return 0.0

    def peak_bytes(self) -> int:
        return 0

    def kill(self) -> None:
        pass

    def wait(self, timeout_s: float | None = None) -> Exit:
        return self.exit


@dataclass
class Compilers:
    """Stands in for the sandbox of the compile stage: reads the job, leaves a module."""

    jobs: list[dict[str, object]] = field(default_factory=list)
    asked: list[Confinement] = field(default_factory=list)
    sources: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, confinement: Confinement) -> Finished:
        job = json.loads(Path(confinement.argv[2]).read_text())
        self.asked.append(confinement)
        self.jobs.append(job)
        self.sources.append({Path(p).name: Path(p).read_text() for p in job["sources"]})
        Path(job["out"]).write_bytes(f"module {len(self.jobs)}".encode())
        return Finished(Exit(ExitCause.EXITED, 0, 0.1, 0.1, 0, "", "", False, 0))


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a CUDA toolkit."""
    home = tmp_path / "cuda"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "nvcc").touch(mode=0o755)
    monkeypatch.setenv("CUDA_HOME", str(home))
    return home


@pytest.fixture(scope="module")
def rmsnorm() -> Problem:
    return load_problems(select=["rmsnorm"], profile="cpu")[0]


def example(problem: Problem) -> Solution:
    """The shipped example, laid beside the Python start as `novum evaluate` does."""
    start = (PACK / "start" / "eager" / "rmsnorm.py").read_bytes()
    return solution_of(problem, {"rmsnorm.py": start, "rmsnorm.cu": EXAMPLE.read_bytes()})


def with_flags(solution: Solution, *flags: str) -> Solution:
    spec = solution.spec.model_copy(update={"compile_options": CompileOptions(cuda_cflags=flags)})
    return solution.model_copy(update={"spec": spec})


def test_a_cuda_file_beside_a_start_is_the_solution_and_fills_its_outputs(rmsnorm: Problem) -> None:
    solution = example(rmsnorm)
    assert solution.spec.is_cpp and solution.spec.languages == ("cuda_cpp",)
    assert solution.spec.destination_passing_style
    assert solution.spec.entry_point == "rmsnorm.cu::run"
    assert Solution.model_validate_json(solution.model_dump_json()) == solution


@pytest.mark.parametrize(("content", "said"), [(b"\xff\xfe", "not UTF-8"), (b" \n", "is empty")])
@pytest.mark.parametrize("name", ["rmsnorm.cu", "rmsnorm.py"])
def test_a_file_that_is_no_text_is_refused_by_name(
    rmsnorm: Problem, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(BadSolution, match=r"rmsnorm\.(cu|py)"):
        solution_of(rmsnorm, {name: content})
    if name.endswith(".cu"):
        with pytest.raises(BadSolution, match=said):
            solution_of(rmsnorm, {name: content})


@pytest.mark.parametrize(
    "flag",
    [
        "-gencode=arch=compute_90a,code=sm_90a",
        "--generate-code=arch=compute_90,code=sm_90",
        "-arch=sm_90",
        "--use_fast_math",
    ],
)
def test_the_usual_ways_to_name_an_architecture_are_allowed(flag: str) -> None:
    check_flags(CompileOptions(cuda_cflags=(flag,)))


def test_the_sources_flags_and_architecture_reach_the_compile_stage_and_nothing_else_does(
    rmsnorm: Problem, toolkit: Path
) -> None:
    compilers = Compilers()
    made = build(example(rmsnorm), compilers, architecture="9.0")
    assert made == {"novum_kernel.so": b"module 1"}
    assert compilers.sources == [{"rmsnorm.cu": EXAMPLE.read_text()}]
    job, asked = compilers.jobs[0], compilers.asked[0]
    assert job["with_cuda"] and job["cuda_cflags"] == ["-O3", "--use_fast_math"]
    assert asked.env["TORCH_CUDA_ARCH_LIST"] == "9.0"
    assert asked.env["CUDA_HOME"] == str(toolkit)
    writable = [m.source for m in asked.mounts if m.writable]
    assert len(writable) == 1 and Path(str(job["out"])).parent == writable[0]
    assert {m.source for m in asked.mounts if not m.writable} == {
        Path(asked.argv[1]).parent,
        toolkit,
    }
    assert not asked.gpus
    assert not any(Path(m.source).exists() for m in asked.mounts if m.source != toolkit)


def test_other_flags_are_another_build_and_the_same_ones_are_built_once(
    rmsnorm: Problem, toolkit: Path, tmp_path: Path
) -> None:
    compilers = Compilers()
    solution = with_flags(example(rmsnorm), "-O3")
    other = with_flags(example(rmsnorm), "-O3", "--maxrregcount=32")
    assert solution.digest() == other.digest()  # as the format defines it
    for _ in range(2):
        arms = Arms(Plan(cache=tmp_path / "cache"), compilers, Gate(), lambda: "9.0")
        assert arms.files(solution) == {"novum_kernel.so": b"module 1"}
        assert arms.files(other) == {"novum_kernel.so": b"module 2"}
    assert len(compilers.jobs) == 2
    newer = Arms(Plan(cache=tmp_path / "cache"), compilers, Gate(), lambda: "10.0")
    assert newer.files(solution) == {"novum_kernel.so": b"module 3"}


def test_the_toolkit_is_found_by_its_variable_by_its_compiler_or_in_its_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    for place in ("on_path", "usual"):
        (tmp_path / place / "bin").mkdir(parents=True)
        (tmp_path / place / "bin" / "nvcc").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(stage, "USUAL_TOOLKIT", tmp_path / "none")
    assert find_toolkit() is None
    monkeypatch.setattr(stage, "USUAL_TOOLKIT", tmp_path / "usual")
    assert find_toolkit() == tmp_path / "usual"
    monkeypatch.setenv("PATH", str(tmp_path / "on_path" / "bin"))
    assert find_toolkit() == tmp_path / "on_path"
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "usual"))
    assert find_toolkit() == tmp_path / "usual"


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs PyTorch: pip install 'novum[train]'"
)
def test_without_a_cuda_compiler_every_workload_says_so(
    rmsnorm: Problem, ceilings: Ceilings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    launch = ProcessSandbox().start
    plan = Plan(rounds=2, processes=1, calls=3)
    with (
        RefereeProcess("cpu") as referee,
        Evaluator(plan, launch, referee, ceilings) as evaluator,
    ):
        usual = baseline(rmsnorm.definition, "eager")
        found = evaluator.evaluate(rmsnorm, example(rmsnorm), usual, "secret").results
    assert [r.status for r in found] == [Status.COMPILE_ERROR] * len(rmsnorm.workloads)
    assert f"cannot be compiled on this machine: there is no nvcc in {tmp_path}/bin" in found[0].log
    assert "CUDA_HOME" in found[0].log
