"""What goes wrong has a status of its own in every workload, and leaves the others measured."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from novum.benchmarks.kernels.answers import kind_of
from novum.benchmarks.kernels.baselines import baseline
from novum.benchmarks.kernels.candidate import solution_of
from novum.benchmarks.kernels.evaluator import Evaluator, Plan
from novum.benchmarks.kernels.parties import PartyFailed, RefereeProcess
from novum.benchmarks.kernels.plan import Secret
from novum.benchmarks.kernels.problem import Problem, load_problem, load_problems
from novum.benchmarks.kernels.results import ProblemResult, results_of
from novum.benchmarks.kernels.roofline import Ceilings
from novum.benchmarks.kernels.timing import Timing
from novum.benchmarks.kernels.trace import Status
from novum.sandboxes.process import ProcessSandbox

if importlib.util.find_spec("torch") is None:
    pytest.skip(
        "the kernels are PyTorch programs: pip install 'novum[train]'", allow_module_level=True
    )

PLAN = Plan(rounds=2, processes=1, calls=3, call_s=120, stage_s=120)
HONEST = "def run(x, y):\n    y.copy_(x * 2)\n"


@pytest.fixture(scope="module")
def evaluator(ceilings: Ceilings) -> Iterator[Evaluator]:
    launch = ProcessSandbox().start
    with RefereeProcess("cpu") as referee, Evaluator(PLAN, launch, referee, ceilings) as found:
        yield found


def write_problem(folder: Path, sizes: Sequence[int] = (64, 96), **fields: Any) -> Path:
    """A problem that doubles a vector of each size; the fields are the definition's."""
    definition = {
        "name": "doubling",
        "axes": {"n": {"type": "var"}},
        "inputs": {"x": {"shape": ["n"], "dtype": "float32"}},
        "outputs": {"y": {"shape": ["n"], "dtype": "float32"}},
        "reference": "def run(x):\n    return x * 2\n",
    } | fields
    folder.mkdir(parents=True)
    (folder / "definition.json").write_text(json.dumps(definition))
    inputs = {"x": {"type": "random"}}
    lines = [json.dumps({"uuid": f"n{n}", "axes": {"n": n}, "inputs": inputs}) for n in sizes]
    (folder / "workload.jsonl").write_text("\n".join(lines))
    return folder


def evaluate(evaluator: Evaluator, problem: Problem, source: str) -> ProblemResult:
    """Evaluate a source; every workload has a line of the trace, and times exactly if it passed."""
    candidate = solution_of(problem, {f"{problem.name}.py": source.encode()})
    result = evaluator.evaluate(problem, candidate, baseline(problem.definition, "eager"), "secret")
    assert [t.workload for t in result.traces()] == list(problem.workloads)
    for found in result.results:
        is_measured = len(found.candidate.calls) == len(found.baseline.calls) > 0
        assert is_measured == (found.status is Status.PASSED), found.log
    return result


def by_size(faults: Sequence[str], parameters: str, honest: str) -> str:
    """A source that has another fault for each size from 1 on, and works on larger ones."""
    cases = [
        f"    if len(x) == {n}:\n" + "".join(f"        {line}\n" for line in fault.splitlines())
        for n, fault in enumerate(faults, start=1)
    ]
    return f"def run({parameters}):\n{''.join(cases)}    {honest}\n"


def test_each_fault_of_a_reference_is_named_where_it_occurs_and_the_rest_is_measured(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    faults = {
        "raise ValueError('no')": "ValueError: no (line 3 of the reference: raise",
        "return x * float('nan')": "NaN",
        "return x.repeat(2)": "the shape",
        "return x.double()": "float64",
        "return x, x": "2 outputs",
        "import os\nos._exit(7)": "the process of the reference died",
        "import torch\nreturn torch.empty(1 << 50)": "memory",
    }
    sizes = range(1, len(faults) + 2)
    reference = by_size(list(faults), "x", "return x * 2")
    problem = load_problem(write_problem(tmp_path / "doubling", sizes, reference=reference))
    *bad, good = evaluate(evaluator, problem, HONEST).results
    assert good.status is Status.PASSED, good.log
    for found, says in zip(bad, faults.values(), strict=True):
        assert found.status is Status.INVALID_REFERENCE and says in found.log


def test_each_fault_of_a_kernel_is_named_where_it_occurs_and_the_rest_is_measured(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    faults = {
        "import torch\ntorch.empty(1 << 50)": (Status.RUNTIME_ERROR, "memory"),
        "class CompilationError(Exception): pass\nraise CompilationError('tl.dot')": (
            Status.COMPILE_ERROR,
            "tl.dot",
        ),
        "raise RuntimeError('PassManager::run failed')": (Status.COMPILE_ERROR, "PassManager"),
        "import os\nos.kill(os.getpid(), 11)": (Status.RUNTIME_ERROR, "died"),
        # As an error spoils a CUDA context: after it, every call in the process fails.
        "global spoiled\nspoiled = True": (Status.RUNTIME_ERROR, "illegal memory access"),
    }
    sizes = range(1, len(faults) + 2)
    source = "spoiled = False\n\n\n" + by_size(
        list(faults), "x, y", "assert not spoiled, 'illegal memory access'\n    y.copy_(x * 2)"
    )
    problem = load_problem(write_problem(tmp_path / "doubling", sizes))
    *bad, good = evaluate(evaluator, problem, source).results
    assert good.status is Status.PASSED, good.log
    for found, (status, says) in zip(bad, faults.values(), strict=True):
        assert found.status is status and says in found.log


def test_a_reference_that_hangs_is_given_up_and_the_next_problem_is_measured(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    hanging = "def run(x):\n    import time\n    time.sleep(60)\n"
    problem = load_problem(write_problem(tmp_path / "doubling", [64], reference=hanging))
    with evaluator.under(replace(PLAN, reference_s=2)):
        (found,) = evaluate(evaluator, problem, HONEST).results
    assert found.status is Status.INVALID_REFERENCE
    assert "the process of the reference took longer than 2 s" in found.log
    next_one = load_problem(write_problem(tmp_path / "next", [64]))
    assert evaluate(evaluator, next_one, HONEST).results[0].status is Status.PASSED


def test_a_kernel_that_hung_once_is_not_waited_for_as_long_again(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    body = "time.sleep(600 if len(x) < 9 else 0)\n    y.copy_(x * 2)"
    source = f"import time\n\n\ndef run(x, y):\n    {body}\n"
    problem = load_problem(write_problem(tmp_path / "doubling", (4, 8, 9)))
    with evaluator.under(replace(PLAN, stage_s=10, call_s=6)):
        first, second, good = evaluate(evaluator, problem, source).results
    assert [first.status, second.status] == [Status.TIMEOUT] * 2
    assert "longer than 10 s" in first.log and "longer than 6 s" in second.log
    assert good.status is Status.PASSED, good.log


def test_files_that_contradict_themselves_fail_alone(evaluator: Evaluator, tmp_path: Path) -> None:
    circle = {"n": {"type": "expr", "expression": "n"}}
    write_problem(tmp_path / "a_circle", axes=circle)
    write_problem(tmp_path / "b_constraint", constraints=["n % 64 == 0"])
    broken, half = load_problems(tmp_path, strict=False)
    assert not broken.sound
    assert set(broken.faults) == {"n64", "n96"} and "circle" in broken.faults["n96"]
    found = evaluate(evaluator, half, HONEST).results
    assert [r.status for r in found] == [Status.PASSED, Status.INVALID_REFERENCE]
    assert "line 2: doubling: the constraint 'n % 64 == 0' fails" in found[1].log


@pytest.mark.parametrize("dies_at", [3, 5])
def test_a_process_that_dies_while_it_is_timed_costs_the_other_workloads_nothing(
    evaluator: Evaluator, tmp_path: Path, dies_at: int
) -> None:
    """Two calls warm up, one more does, three are timed: it dies before and while."""
    source = f"""
import os

calls = 0


def run(x, y):
    global calls
    calls += len(x) == 96
    if calls == {dies_at}:
        os._exit(3)
    y.copy_(x * 2)
"""
    problem = load_problem(write_problem(tmp_path / "doubling"))
    good, bad = evaluate(evaluator, problem, source).results
    assert good.status is Status.PASSED, good.log
    assert bad.status is Status.RUNTIME_ERROR and "died" in bad.log


def test_pairs_that_are_prepared_together_are_measured_like_single_ones(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    problem = load_problem(write_problem(tmp_path / "doubling", (64, 1 << 16)))
    with evaluator.under(replace(PLAN, processes=3, pairs=2)):
        result = evaluate(evaluator, problem, HONEST)
    for found in result.results:
        assert found.status is Status.PASSED, found.log
        assert [len(calls) for calls in found.candidate.calls] == [3, 3, 3]
        assert found.verified_calls == 3 * 2


def test_a_death_among_pairs_prepared_together_is_measured_again_on_other_inputs(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    mark = tmp_path / "died"
    source = f"""
import inspect, os

def run(x, y):
    is_timed = any(frame.function == "time" for frame in inspect.stack())
    if is_timed and not os.path.exists({str(mark)!r}):
        open({str(mark)!r}, "w").close()
        os._exit(9)
    y.copy_(x * 2)
"""
    problem = load_problem(write_problem(tmp_path / "doubling", (64, 96)))
    with evaluator.under(replace(PLAN, processes=2, pairs=2)):
        results = evaluate(evaluator, problem, source).results
    assert mark.exists()
    died, other = results
    assert died.status is Status.RUNTIME_ERROR
    assert other.status is Status.PASSED and len(other.candidate.calls) == 2, other.log


def test_large_inputs_are_prepared_one_pair_at_a_time(evaluator: Evaluator, tmp_path: Path) -> None:
    problem = load_problem(write_problem(tmp_path / "doubling", (64, 1 << 16)))
    both = results_of(problem)
    small, large = 64 * 2 * 4, (1 << 16) * 2 * 4
    for most, pairs in ((3 * (small + large), 3), (2 * large, 1), (1, 1)):
        plan = replace(PLAN, pairs=3, pairs_bytes=most)
        with evaluator.under(plan):
            timing = Timing(evaluator.station, problem, (None, None), {}, Secret("", ""))  # type: ignore[arg-type]
            assert timing.together(both) == pairs
            assert timing.together(both[:1]) == (3 if most > 1 else 1)


@pytest.mark.parametrize("line", ["import no_such_package", "raise SystemExit"])
def test_a_solution_that_cannot_be_imported_does_not_compile(
    evaluator: Evaluator, tmp_path: Path, line: str
) -> None:
    problem = load_problem(write_problem(tmp_path / "doubling"))
    found = evaluate(evaluator, problem, f"{line}\n\n\n{HONEST}").results
    assert [r.status for r in found] == [Status.COMPILE_ERROR] * 2


@pytest.mark.parametrize("kind", ["PASSED", "DEVICE"])
def test_a_message_that_the_candidate_forges_convicts_it(
    evaluator: Evaluator, tmp_path: Path, kind: str
) -> None:
    source = f"""
import sys


def run(x, y):
    frame = sys._getframe()
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "channel"):
        frame = frame.f_back
    said = {{"error": "nothing to see", "kind": "{kind}"}}
    frame.f_globals["wire"].send(frame.f_locals["self"].channel, said)
"""
    problem = load_problem(write_problem(tmp_path / "doubling"))
    found = evaluate(evaluator, problem, source).results
    assert [r.status for r in found] == [Status.REWARD_HACK] * 2
    assert f"forged {kind}" in found[0].log


def test_a_kernel_that_takes_more_memory_than_the_limit_is_told_so(
    ceilings: Ceilings, tmp_path: Path
) -> None:
    source = "import torch\n\n\ndef run(x, y):\n    y.copy_(torch.ones(1 << 29)[: len(x)])\n"
    problem = load_problem(write_problem(tmp_path / "doubling", (64,)))
    plan = replace(PLAN, limits=replace(PLAN.limits, memory_bytes=1 << 30))
    launch = ProcessSandbox().start
    with (
        RefereeProcess("cpu") as referee,
        Evaluator(plan, launch, referee, ceilings) as evaluator,
    ):
        (found,) = evaluate(evaluator, problem, source).results
    assert found.status is Status.RUNTIME_ERROR
    assert "its sandbox ended: out of memory, limit 1 GiB" in found.log, found.log


def test_a_device_that_is_not_there_is_nobody_s_fault(ceilings: Ceilings, tmp_path: Path) -> None:
    problem = load_problem(write_problem(tmp_path / "doubling"))
    launch = ProcessSandbox().start
    with (
        RefereeProcess("cuda:7") as referee,
        Evaluator(replace(PLAN, device="cuda:7"), launch, referee, ceilings) as evaluator,
    ):
        result = evaluate(evaluator, problem, HONEST)
    assert "the device cuda:7 cannot be used" in result.lost
    assert [r.status for r in result.results] == [Status.INVALID_REFERENCE] * 2


def test_a_referee_that_ends_before_it_answers_is_named_with_its_exit_code() -> None:
    with RefereeProcess("cpu", env={"PYTHONHOME": "/nowhere"}) as referee:
        with pytest.raises(
            PartyFailed, match=r"the referee did not start \(exit code 1\)"
        ) as caught:
            referee.meet()
        assert caught.value.kind == "REFEREE"
        with pytest.raises(PartyFailed):
            referee.ask({"do": "problem"}, timeout_s=1)


def test_what_a_referee_says_of_itself_is_waited_for() -> None:
    import torch

    with RefereeProcess("cpu") as referee:
        assert referee.torch == torch.__version__
        assert referee.architecture == ""
    with RefereeProcess("cpu", env={"PYTHONHOME": "/nowhere"}) as broken:
        assert broken.torch == ""


def test_a_referee_that_nobody_asked_ends_with_its_block() -> None:
    with RefereeProcess("cpu") as referee:
        process = referee._process
    assert process.poll() is not None


def test_a_compiler_s_error_is_known_by_name_and_by_what_caused_it() -> None:
    class OutOfResources(Exception):
        pass

    launch_failed = RuntimeError("the launch failed")
    launch_failed.__cause__ = OutOfResources("shared memory")
    assert kind_of(launch_failed) == "COMPILE_ERROR"
    assert kind_of(RuntimeError("CUDA error: an illegal memory access")) == "RUNTIME_ERROR"
