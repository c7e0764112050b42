"""The kernels pack in the harness: trials, probes, tolerances, the roofline and the playbook."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from novum.benchmarks.harness.trial import run_trial
from novum.benchmarks.kernels.grade import Grader, needs_compiler
from novum.benchmarks.kernels.problem import load_problem, load_problems
from novum.benchmarks.kernels.results import Arm, profiler_disagrees, wall_disagrees
from novum.benchmarks.kernels.roofline import Ceilings, Operations, bound_of, score
from novum.benchmarks.moves import load_playbook
from novum.benchmarks.pack import Pack, Profile, load_pack
from novum.benchmarks.protocol import TrialRequest, TrialResult
from novum.errors import DoesNotApply, PackError, ToolError
from novum.lab.records import Outcome, TrialStatus
from novum.lab.trees import tree_hash
from novum.sandboxes.process import ProcessSandbox
from novum.sandboxes.slots import Slot

PACK = Path(__file__).parents[1] / "benchmarks" / "kernels"
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs PyTorch: pip install 'novum[train]'"
)
CEILINGS = Ceilings(
    device="d",
    copy_bytes_per_s=1e12,
    read_bytes_per_s=2e12,
    matmul_flops_per_s={"float32": 1e13, "bfloat16": 1e14},
    empty_call_s=2e-6,
    cache_bytes=0,
)


def pack() -> Pack:
    return load_pack(PACK)


def run(
    files: dict[str, bytes], tmp_path: Path, cache: Path, options: dict[str, object]
) -> TrialResult:
    """One smoke-sized trial of the pack in the process sandbox."""
    found = pack()
    profile = found.profile("cpu")
    profile = profile.model_copy(update={"options": profile.options | options})
    request = TrialRequest(files=files, tree=tree_hash(files), seed=1)
    return run_trial(
        request,
        pack=found,
        profile=profile,
        grader=found.grader(profile, cache),
        sandbox=ProcessSandbox(),
        slot=Slot(),
        scratch=tmp_path,
    )


@needs_torch
def test_a_trial_scores_a_start_and_names_what_a_cheat_did(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("kernels")
    (cache / "kept").mkdir()
    options: dict[str, object] = {"rounds": 2, "processes": 1, "calls": 3}
    files = pack().start_files("eager")
    honest = run(files, tmp_path, cache, options)
    assert honest.status is TrialStatus.FINISHED, honest.error
    assert honest.metric is not None and 0 <= honest.metric <= 1
    assert honest.observed["passed"] == honest.observed["workloads"] == 2
    assert {p.name for p in honest.probes} == {
        "conduct",
        "correct",
        "timed-outputs",
        "physics",
        "complete",
    }
    judged = {
        p.name: p.outcome for p in honest.probes if p.name != "physics"
    }  # a busy machine may differ
    assert set(judged.values()) == {Outcome.PASS}
    assert len(list((cache / "traces").glob("*.jsonl"))) == 1
    cheat = files | {
        "rmsnorm.py": (PACK / "cheats" / "skip_when_timed" / "rmsnorm.py").read_bytes()
    }
    caught = run(cheat, tmp_path, cache, options)
    assert caught.status is TrialStatus.CRASHED
    assert "timed call" in caught.error


def test_unknown_options_are_refused_by_name(tmp_path: Path) -> None:
    found = pack()
    wrong = Profile(name="x", budget_s=1, options={"problem": ["rmsnorm"]})
    with pytest.raises(PackError, match="problem"):
        found.grader(wrong, tmp_path)


@needs_torch
@pytest.mark.parametrize("name", [p.name for p in load_problems()])
def test_the_tolerance_tells_one_lower_precision(name: str) -> None:
    from novum.benchmarks.kernels.calibrate import draw, in_order, lowered, passes

    problem = load_problem(PACK / "problems" / name, "cpu")
    definition, workload = problem.definition, problem.workloads[0]
    space: dict[str, object] = {}
    exec(compile(definition.reference, name, "exec"), space)
    inputs = draw(definition, workload, space, problem.folder, seed=7)
    reference = space["run"]
    assert callable(reference)
    want = in_order(definition, reference(*inputs))
    again = in_order(
        definition, reference(*[x.clone() if hasattr(x, "clone") else x for x in inputs])
    )
    degraded = in_order(definition, reference(*[lowered(x) for x in inputs]))
    assert passes(again, want, workload.tolerance)
    assert not passes(degraded, want, workload.tolerance)


@needs_torch
def test_matrix_flops_are_counted_by_type_and_corrections_replace_them() -> None:
    import torch

    from novum.benchmarks.kernels.roofline import count_operations

    counts = count_operations(
        lambda a, b: (a @ b.T).relu(), [torch.ones(4, 8).bfloat16(), torch.ones(6, 8).bfloat16()]
    )
    assert counts.matmul_flops == {"bfloat16": 2 * 4 * 8 * 6}
    assert counts.vector_flops == 4 * 6
    decode = load_problem(PACK / "problems" / "attention_decode")
    workload = decode.workloads[0]
    bound = bound_of(decode, workload, counts, CEILINGS)
    sizes = decode.definition.sizes(workload.axes)
    assert bound.matmul_flops == {"bfloat16": 4 * 32 * sizes["time"] * 128}
    assert bound.by == "memory" and bound.t_sol_s == bound.bytes / 1e12


@needs_torch
def test_counting_does_not_import_torch_compile() -> None:
    program = """
import sys, torch
from novum.benchmarks.kernels.roofline import count_operations
counts = count_operations(lambda a: a @ a, [torch.ones(4, 4)])
print(counts.matmul_flops, "torch._dynamo" in sys.modules)
"""
    argv = [sys.executable, "-c", program]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "{'float32': 128} False"


def test_what_compilers_need_is_imported_early_only_where_something_compiles(
    tmp_path: Path,
) -> None:
    grader = Grader(PACK, pack().profile("cuda_eager"), tmp_path)
    assert needs_compiler({"rmsnorm.py": b"import triton"})
    assert not needs_compiler(pack().start_files("eager"))
    plain = grader.options_at("full")
    best = plain.model_copy(update={"baseline": "best"})
    assert not grader.plan(plain, False, compiles=False).early
    assert grader.plan(plain, False, compiles=True).early
    assert grader.plan(best, False, compiles=False).early


def test_the_bound_is_what_takes_longest_and_the_floor_lies_under_it() -> None:
    problem = load_problem(PACK / "problems" / "gemm")
    big, small = problem.workloads[-1], problem.workloads[0]
    flops = {"bfloat16": 10**12}
    assert bound_of(problem, big, Operations(flops), CEILINGS).by == "compute"
    assert bound_of(problem, small, Operations({"bfloat16": 1}), CEILINGS).by == "memory"
    slow = CEILINGS.model_copy(update={"empty_call_s": 1.0})
    assert bound_of(problem, small, Operations({}), slow).by == "call"
    bound = bound_of(problem, big, Operations(flops), CEILINGS)
    assert bound.floor_s < bound.t_sol_s
    unknown = bound_of(problem, big, Operations({"int8": 10**12}), CEILINGS)
    assert unknown.t_sol_s == 10**12 / 1e14  # an unmeasured type counts as the fastest


def test_the_score_is_half_at_the_baseline_and_one_at_the_limit() -> None:
    assert score(2.0, 2.0, 1.0) == 0.5
    assert score(1.0, 2.0, 1.0) == 1.0
    assert score(1.5, 2.0, 1.0) == pytest.approx(2 / 3)
    assert score(0.5, 2.0, 1.0) > 1.0
    assert score(1.0, 1.0, 2.0) == 1.0 and score(3.0, 1.0, 2.0) == 0.0


def test_the_outer_clock_convicts_only_beyond_the_noise() -> None:
    honest = Arm(calls=[[0.01] * 10] * 3, walls=[0.11, 0.12, 0.115])
    slower = Arm(calls=[[0.02] * 10] * 3, walls=[0.21, 0.22, 0.215])
    assert wall_disagrees(slower, honest) == ""
    lying = Arm(calls=[[0.0001] * 10] * 3, walls=[0.31, 0.32, 0.315])
    assert "do not account for" in wall_disagrees(lying, honest)
    noisy = Arm(calls=[[0.01] * 10] * 3, walls=[0.11, 0.42, 0.5])
    assert wall_disagrees(lying, noisy) == ""


def test_the_profiler_convicts_events_that_say_less_than_kernels_were_busy() -> None:
    seen = [{"seconds": s, "kernels": ["k"]} for s in (9e-5, 8e-5, 1e-4)]
    assert profiler_disagrees(seen, 7.5e-5, True) == ""
    assert "80.00 us under the profiler" in profiler_disagrees(seen, 5e-5, True)
    nothing = [{"seconds": 0.0, "kernels": []}]
    assert profiler_disagrees(nothing, 5e-5, profiler_works=False) == ""
    assert "no kernel ran" in profiler_disagrees(nothing, 5e-5, profiler_works=True)
    assert profiler_disagrees([], 5e-5, True) == ""


def test_every_technique_applies_to_a_start_and_leaves_python() -> None:
    from novum.benchmarks.moves import apply_move

    found = pack()
    starts = [found.start_files(name) for name in found.starts]
    techniques = load_playbook(PACK / "playbook")
    assert len(techniques) >= 15
    for name, technique in techniques.items():
        changed = []
        for files in starts:
            try:
                changed.append(apply_move(technique, files))
            except DoesNotApply:
                continue
        assert changed, f"{name} applies to no start"
        if technique.edits:
            with pytest.raises(DoesNotApply):
                apply_move(technique, changed[0])


def test_a_triton_template_is_the_hand_written_kernel() -> None:
    from novum.benchmarks.moves import apply_move

    found = pack()
    eager, triton = found.start_files("eager"), found.start_files("triton")
    for name, technique in load_playbook(PACK / "playbook").items():
        if name.startswith("triton_"):
            (file,) = {edit.file for edit in technique.edits}
            assert apply_move(technique, eager)[file].strip() == triton[file].strip()


@needs_torch
@pytest.mark.slow
def test_the_tools_look_at_a_researcher_s_own_kernel(tmp_path: Path) -> None:
    from novum.benchmarks.kernels import tools

    found = pack()
    options: dict[str, object] = {"calls": 3, "processes": 1}
    profile = found.profile("cpu")
    profile = profile.model_copy(update={"options": profile.options | options})
    (tmp_path / "cache").mkdir()
    source = found.start_files("eager")["rmsnorm.py"].decode()
    chunked = source.replace("import torch\n", "import torch\n\nBLOCK_ROWS = 16\n", 1)
    files = {"rmsnorm.py": chunked.encode()}
    grader = found.grader(profile, tmp_path / "cache")
    from novum.benchmarks.kernels.grade import Grader

    own = Grader(PACK, profile, tmp_path / "cache")
    assert grader.prepare() == own.prepare()
    bench = tools.Bench(own, files, ProcessSandbox().start)
    said = tools.roofline(tools.Roofline(problem="rmsnorm"), bench)
    assert said.count("bound by memory") == 2
    assert "aten::mul" in tools.profile(tools.Profile(problem="rmsnorm"), bench)
    tuned = tools.autotune(tools.Autotune(problem="rmsnorm"), bench)
    settings = set(re.findall(r"- (.*): [0-9.]+ us", tuned))
    assert settings == {"as written", "BLOCK_ROWS=32"}  # 8 lies below the bound of a block
    with pytest.raises(ToolError, match="no problem 'rope' is selected"):
        tools.roofline(tools.Roofline(problem="rope"), bench)


def test_a_coder_is_offered_the_tools_of_this_pack() -> None:
    from novum.tools.pack import coder_tools

    offered = {tool.name: tool.schema["function"] for tool in coder_tools(pack())}
    for name in ("roofline", "profile", "disassembly", "autotune"):
        assert "problem" in offered[name]["parameters"]["required"]
        assert len(offered[name]["description"]) > 20


def test_machine_code_is_summed_up_by_kind() -> None:
    from novum.benchmarks.kernels.disassembly import summarise

    listing = """
        Function : norm_kernel
        /*0000*/                   MOV R1, c[0x0][0x28] ;        /* 0x00000a0000017a02 */
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, [R2.64] ;   /* 0x0000000602047981 */
        /*0020*/                   LDG.E R8, [R2.64+0x10] ;
        /*0030*/                   FFMA R4, R4, R5, RZ ;
        /*0040*/                   STL [R1], R4 ;
        /*0050*/               @P1 STG.E.128 [R2.64], R4 ;
    """
    (kernel,) = summarise(listing)
    assert kernel.name == "norm_kernel" and kernel.instructions == 6
    assert kernel.kinds["global load"] == 2 and kernel.wide_loads == 1
    assert "spills (1 local accesses)" in kernel.text


CPP = """
#include <ATen/ATen.h>
#include <torch/csrc/utils/pybind.h>

void run(at::Tensor x, at::Tensor weight, double eps, at::Tensor y) {
  auto wide = x.to(at::kFloat);
  auto rstd = (wide.pow(2).mean(-1, true) + eps).rsqrt();
  y.copy_(wide * rstd * weight.to(at::kFloat));
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("run", &run); }
"""


@needs_torch
@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("ninja") and shutil.which("g++")), reason="needs ninja and g++"
)
def test_a_cpp_solution_is_compiled_in_a_stage_of_its_own_and_measured(tmp_path: Path) -> None:
    files = pack().start_files("eager")
    del files["rmsnorm.py"]
    spec = {"languages": ["cuda_cpp"], "target_hardware": ["LOCAL"], "entry_point": "k.cpp::run"}
    solution: dict[str, object] = {
        "name": "cpp",
        "definition": "rmsnorm",
        "author": "a",
        "spec": spec,
    }
    solution["sources"] = [{"path": "k.cpp", "content": CPP}]
    files["rmsnorm.json"] = json.dumps(solution).encode()
    (tmp_path / "cache").mkdir()
    options: dict[str, object] = {"rounds": 2, "processes": 1, "calls": 3}
    result = run(files, tmp_path / "scratch", tmp_path / "cache", options)
    assert result.status is TrialStatus.FINISHED, result.error
    assert result.observed["passed"] == 2
    solution["sources"] = [{"path": "k.cpp", "content": "this is not C++"}]
    files["rmsnorm.json"] = json.dumps(solution).encode()
    broken = run(files, tmp_path / "scratch", tmp_path / "cache", options)
    assert broken.status is TrialStatus.CRASHED and "COMPILE_ERROR" in broken.error
