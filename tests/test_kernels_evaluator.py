"""The evaluator: honest kernels pass, cheats are caught, no fault keeps others unmeasured."""

from __future__ import annotations

import gc
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from novum.benchmarks.kernels import answers, tensors, timed
from novum.benchmarks.kernels.baselines import baseline, mixed_baseline
from novum.benchmarks.kernels.build import BuildFailed, check_flags
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.evaluator import Evaluator, Plan
from novum.benchmarks.kernels.parties import RefereeProcess
from novum.benchmarks.kernels.problem import Problem, load_problems
from novum.benchmarks.kernels.results import ProblemResult
from novum.benchmarks.kernels.roofline import Ceilings
from novum.benchmarks.kernels.solution import CompileOptions
from novum.benchmarks.kernels.trace import Status
from novum.benchmarks.kernels.workers import Workers
from novum.sandboxes.process import ProcessSandbox

if importlib.util.find_spec("torch") is None:
    pytest.skip(
        "the kernels are PyTorch programs: pip install 'novum[train]'", allow_module_level=True
    )
import torch
from torch.utils._python_dispatch import BaseTorchDispatchMode

PACK = Path(__file__).parents[1] / "benchmarks" / "kernels"
PLAN = Plan(rounds=4, processes=2, calls=4, call_s=120, stage_s=120)


@pytest.fixture(scope="module")
def evaluator(ceilings: Ceilings) -> Iterator[Evaluator]:
    launch = ProcessSandbox().start
    with RefereeProcess("cpu") as referee, Evaluator(PLAN, launch, referee, ceilings) as found:
        yield found


@pytest.fixture(scope="module")
def rmsnorm() -> Problem:
    return load_problems(select=["rmsnorm"], profile="cpu")[0]


def evaluate(evaluator: Evaluator, problem: Problem, source: str | bytes) -> ProblemResult:
    """Evaluate a file in the place of the problem's solution."""
    content = source if isinstance(source, bytes) else source.encode()
    candidate = solution_of(problem, {f"{problem.name}.py": content})
    return evaluator.evaluate(problem, candidate, baseline(problem.definition, "eager"), "secret")


HONEST = """
import torch


def run(x, weight, eps, y):
    wide = x.float()
    torch.mul(wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps), weight.float(),
    out=wide)
    y.copy_(wide)
"""


def test_an_honest_kernel_that_fills_its_outputs_passes(
    evaluator: Evaluator, rmsnorm: Problem
) -> None:
    result = evaluate(evaluator, rmsnorm, HONEST)
    for found in result.results:
        assert found.status is Status.PASSED, found.log
        assert found.rounds == PLAN.rounds
        assert len(found.families) == len(set(found.families)) + found.families.count("base") - 1
        assert len(found.candidate.calls) == len(found.baseline.calls) >= PLAN.processes
        assert found.verified_calls == 2 * len(found.candidate.calls)
        assert 0 < found.raw_score < 1
    traces = [json.loads(t.model_dump_json()) for t in result.traces()]
    assert [t["workload"]["uuid"] for t in traces] == [w.uuid for w in rmsnorm.workloads]
    assert result.overhead_s > 0


@pytest.mark.parametrize(
    ("cheat", "status", "says"),
    [
        ("last_result", Status.INCORRECT_NUMERICAL, "within tolerance"),
        ("skip_when_timed", Status.INCORRECT_NUMERICAL, "timed call"),
        ("change_inputs", Status.REWARD_HACK, "inputs-changed"),
        ("lazy_output", Status.REWARD_HACK, "not a plain tensor"),
        ("forged_message", Status.REWARD_HACK, "forged PASSED"),
        ("lower_precision", Status.INCORRECT_NUMERICAL, "within tolerance"),
        ("lazy_container", Status.INCORRECT_SHAPE, "returned 0 outputs"),
        ("deferred_work", Status.REWARD_HACK, "another meaning"),
        ("patched_modules", Status.COMPILE_ERROR, "no attribute 'runner'"),
        ("scaled_memory", Status.INCORRECT_NUMERICAL, "timed call"),
    ],
)
def test_a_cheat_is_caught(
    evaluator: Evaluator, rmsnorm: Problem, cheat: str, status: Status, says: str
) -> None:
    result = evaluate(evaluator, rmsnorm, (PACK / "cheats" / cheat / "rmsnorm.py").read_bytes())
    assert [r.status for r in result.results] == [status] * len(rmsnorm.workloads)
    assert says in result.results[0].log
    assert result.score == 0.0


def test_no_input_of_a_timed_call_is_a_multiple_of_another_or_equal_to_it() -> None:
    """A product of one call would be that of another times a number."""
    torch.manual_seed(0)
    before = torch.randn(70, 100).to(torch.bfloat16)
    first, second = (tensors.perturbed(before, tensors.change_of(before, d, 0)) for d in (3, 4))
    for one in (first, second):
        assert torch.equal(one.sign(), before.sign())
        assert bool((one.abs() <= before.abs()).all())
        assert bool((one.abs() >= 0.79 * before.abs()).all())
    ratios = first.double() / second.double()
    assert float(ratios.std()) > 0.05
    assert float((ratios[1:] / ratios[:1]).std()) > 0.05  # rows have no factors in common either
    again = torch.empty_like(before)
    tensors.fill(again, before, tensors.change_of(before, 3, 0))
    assert torch.equal(again, first)  # worker and referee change them alike
    narrow = torch.randint(-127, 128, (70, 100)).to(torch.int8)
    shifted = tensors.perturbed(narrow, tensors.change_of(narrow, 3, 0))
    assert not torch.equal(shifted, narrow)
    assert torch.equal(shifted.reshape(-1).sort().values, narrow.reshape(-1).sort().values)
    for kept in (torch.arange(9, dtype=torch.int32), torch.tensor([True, False, False])):
        assert torch.equal(tensors.perturbed(kept, tensors.change_of(kept, 3, 0)), kept)
    for odd in (torch.tensor(2.0), torch.empty(0, 3), torch.empty(0, dtype=torch.int8)):
        changed = tensors.perturbed(odd, tensors.change_of(odd, 3, 0))
        assert changed.shape == odd.shape and changed.dtype == odd.dtype


def test_what_is_written_after_the_clock_of_a_timed_call_is_seen() -> None:
    """A thread that fills an output once the call has returned does its work in free time."""
    base = [torch.ones(50)]
    sets = [[torch.empty(50)] for _ in range(3)]

    def fills(x: torch.Tensor, y: torch.Tensor) -> None:
        y.copy_(x)

    def returns(x: torch.Tensor) -> dict[str, torch.Tensor | float]:
        return {"y": x.clone(), "n": 3.0}

    filled = [[torch.zeros(50)] for _ in range(3)]
    seconds, _, marks = timed.time_on_cpu(fills, base, sets, filled, [1, 2, 3])
    assert len(seconds) == 3 and timed.changed(marks) == []
    filled[1][0][7] += 1
    assert timed.changed(marks) == [1]
    _, results, marks = timed.time_on_cpu(returns, base, sets, [[], [], []], [1, 2, 3])
    assert timed.changed(marks) == []
    results[2]["y"].zero_()
    assert timed.changed(marks) == [2]


def test_work_in_a_finaliser_is_caught_as_changed_or_as_missing(
    evaluator: Evaluator, rmsnorm: Problem
) -> None:
    """When the collector runs again decides which."""
    source = (PACK / "cheats" / "finaliser" / "rmsnorm.py").read_bytes()
    result = evaluate(evaluator, rmsnorm, source)
    caught = {Status.REWARD_HACK, Status.INCORRECT_NUMERICAL}
    assert {r.status for r in result.results} <= caught and result.score == 0.0


def test_an_object_that_a_call_leaves_does_not_end_before_its_outputs_are_marked() -> None:
    """What the collector of garbage ends may work: after the clock, but before anybody looks."""
    ended: list[str] = []

    class Left:
        def __init__(self, y: torch.Tensor) -> None:
            self.itself, self.y = self, y

        def __del__(self) -> None:
            ended.append("late")
            self.y.fill_(1)

    def run(x: torch.Tensor, y: torch.Tensor) -> None:
        gc.disable()
        Left(y)
        gc.set_threshold(1)
        gc.enable()

    outputs = [[torch.zeros(50)]]
    threshold = gc.get_threshold()
    try:
        _, _, marks = timed.time_on_cpu(run, [torch.ones(50)], [[torch.empty(50)]], outputs, [1])
        gc.collect()
        assert ended and timed.changed(marks) == [0], "the mark was taken when it had ended"
    finally:
        gc.set_threshold(*threshold)
        gc.enable()


def test_a_container_is_read_past_its_own_methods() -> None:
    """What is computed when a returned list is first looked at is computed in free time."""
    y = torch.ones(3)
    slots = [{"name": "y", "dtype": "float32", "shape": [3]}]

    class Later(list[torch.Tensor]):
        def __iter__(self) -> Iterator[torch.Tensor]:
            return iter([y])

        def __len__(self) -> int:
            return 1

    class Named(dict[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            return y

        def keys(self) -> Any:
            return {"y": y}.keys()

        def __iter__(self) -> Iterator[str]:
            return iter(["y"])

    class Name(str):
        """Could compute when it is hashed or compared."""

    with pytest.raises(answers.Refused, match="plain texts"):
        answers.in_order({Name("y"): y}, slots, "cpu")

    class Pair(NamedTuple):
        y: torch.Tensor

    for late in (Later(), Named()):
        assert answers.tensors_in(late) == []
        with pytest.raises(answers.Refused):
            answers.in_order(late, slots, "cpu")
    for plain in (y, [y], (y,), {"y": y}, Pair(y), torch.max(torch.ones(3, 2), 1)[:1]):
        assert answers.tensors_in(plain)[0] is answers.in_order(plain, slots, "cpu")[0]


def test_a_default_device_is_no_mode_that_changes_what_operations_mean() -> None:
    answers.refuse_modes()
    with torch.device("cpu"):
        answers.refuse_modes()
    mode = BaseTorchDispatchMode()  # type: ignore[no-untyped-call]
    with mode, pytest.raises(answers.Refused, match="another meaning"):
        answers.refuse_modes()


def test_a_patched_clock_is_quarantined_by_the_clock_outside(
    evaluator: Evaluator, rmsnorm: Problem
) -> None:
    result = evaluate(
        evaluator, rmsnorm, (PACK / "cheats" / "slow_clock" / "rmsnorm.py").read_bytes()
    )
    largest = result.results[-1]
    assert largest.status is Status.PASSED
    assert largest.quarantine and largest.score == 0.0


def test_a_sandbox_that_is_still_dying_is_not_blamed_on_the_next_candidate(
    evaluator: Evaluator, rmsnorm: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(evaluator, rmsnorm, HONEST)
    assert evaluator.station.arms._servers
    for workers in evaluator.station.arms._servers.values():
        workers._process.kill()
    monkeypatch.setattr(Workers, "is_running", property(lambda workers: True))  # not yet noticed
    result = evaluate(evaluator, rmsnorm, "def run(x, weight, eps):\n    return x[:1]\n")
    assert {r.status for r in result.results} == {Status.INCORRECT_SHAPE}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("raise RuntimeError('no')", Status.RUNTIME_ERROR),
        ("import os; os._exit(3)", Status.RUNTIME_ERROR),
        (
            "import os, signal; os.kill(os.getppid(), signal.SIGKILL); os._exit(1)",
            Status.RUNTIME_ERROR,
        ),
        ("return x[:1]", Status.INCORRECT_SHAPE),
        ("return x.float()", Status.INCORRECT_DTYPE),
        ("return x * float('nan')", Status.INCORRECT_NUMERICAL),
        ("return x.new_zeros(x.shape)", Status.INCORRECT_NUMERICAL),
        ("return x", Status.REWARD_HACK),
        ("raise SystemExit", Status.RUNTIME_ERROR),
    ],
)
def test_every_fault_has_its_status_and_every_workload_is_accounted_for(
    evaluator: Evaluator, rmsnorm: Problem, body: str, status: Status
) -> None:
    result = evaluate(
        evaluator, rmsnorm, f"import torch\n\n\ndef run(x, weight, eps):\n    {body}\n"
    )
    assert [r.status for r in result.results] == [status] * len(rmsnorm.workloads), result.results[
        0
    ].log
    assert len(result.traces()) == len(rmsnorm.workloads)


def test_a_fault_of_one_workload_leaves_the_others_measured(
    evaluator: Evaluator, rmsnorm: Problem
) -> None:
    rows = rmsnorm.workloads[0].axes["rows"]
    source = HONEST.replace(
        "    wide", f"    if len(x) == {rows}:\n        import os; os._exit(9)\n    wide", 1
    )
    result = evaluate(evaluator, rmsnorm, source)
    assert [r.status for r in result.results] == [Status.RUNTIME_ERROR, Status.PASSED]


def test_a_kernel_that_hangs_is_given_up(evaluator: Evaluator, rmsnorm: Problem) -> None:
    from dataclasses import replace

    source = "import time\n\n\ndef run(x, weight, eps):\n    time.sleep(60)\n"
    with evaluator.under(replace(PLAN, stage_s=1.5, call_s=1.5)):
        result = evaluate(evaluator, rmsnorm, source)
    assert {r.status for r in result.results} == {Status.TIMEOUT}


def test_a_reference_that_gives_nan_is_named_and_not_the_candidate(
    evaluator: Evaluator, rmsnorm: Problem
) -> None:
    from dataclasses import replace

    broken = rmsnorm.definition.reference.replace("* rstd", "* rstd * float('nan')")
    problem = replace(
        rmsnorm, definition=rmsnorm.definition.model_copy(update={"reference": broken})
    )
    result = evaluate(evaluator, problem, HONEST)
    assert {r.status for r in result.results} == {Status.INVALID_REFERENCE}


def test_a_solution_that_does_not_parse_or_fit_is_refused_before_it_runs(rmsnorm: Problem) -> None:
    for source, says in (
        (b"def run(", "not Python"),
        (b"x = 1", "no top-level"),
        (b"def run(a): pass", "parameters"),
    ):
        with pytest.raises(BadSolution, match=says):
            solution_of(rmsnorm, {"rmsnorm.py": source})
    with pytest.raises(BadSolution, match="there is no rmsnorm.py"):
        solution_of(rmsnorm, {})


def test_a_mixed_baseline_takes_the_mode_of_each_shape(rmsnorm: Problem) -> None:
    modes = {w.uuid: "eager" for w in rmsnorm.workloads}
    solution = mixed_baseline(rmsnorm.definition, rmsnorm.workloads, modes)
    source = solution.files["baseline.py"].decode()
    compile(source, "baseline.py", "exec")
    assert f"(({rmsnorm.workloads[0].axes['rows']}, 4096), (4096,)): 'eager'" in source


@pytest.mark.parametrize(
    "flag",
    [
        "@/etc/passwd",
        "-fplugin=x.so",
        "-Wl,-rpath,/",
        "-include",
        "-I/",
        "-o",
        "-Xcompiler",
        "-L/tmp",
        "-lfoo",
        "-B.",
    ],
)
def test_a_flag_that_reads_or_runs_something_is_refused(flag: str) -> None:
    check_flags(
        CompileOptions(
            cflags=("-O3", "-std=c++17"), cuda_cflags=("--use_fast_math", "-arch=sm_90a")
        )
    )
    for field in ("cflags", "cuda_cflags", "ld_flags"):
        with pytest.raises(BuildFailed, match="not allowed"):
            check_flags(CompileOptions.model_validate({field: (flag,)}))
