"""Tools of this pack for a researcher: roofline, profile, disassembly and autotune of one problem.

`TOOLS` lists them as (name, call, function); a function takes the call and a `Bench`. They run the
researcher's own files in the sandbox, on inputs that no evaluation uses, and decide nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from novum.benchmarks.kernels.autotune import tune
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.disassembly import of_folder
from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.grade import Grader
from novum.benchmarks.kernels.parties import Launch, PartyFailed, RefereeProcess
from novum.benchmarks.kernels.problem import Problem
from novum.errors import ToolError


@dataclass(frozen=True)
class Bench:
    """What the tools work with: a prepared grader, the workspace's files, a sandbox."""

    grader: Grader
    files: Mapping[str, bytes]
    launch: Launch

    def problem(self, name: str) -> Problem:
        """A selected problem by name.

        Raises:
            ToolError: there is none of this name.
        """
        for problem in self.grader.problems:
            if problem.name == name:
                return problem
        known = ", ".join(p.name for p in self.grader.problems)
        raise ToolError(f"no problem {name!r} is selected; there are {known}")

    @contextmanager
    def evaluator(self, cache: Path | None = None) -> Iterator[Evaluator]:
        """An evaluator for searches.

        Raises:
            ToolError: the processes cannot work here.
        """
        self.grader.prepare()
        assert self.grader.ceilings is not None
        plan = replace(self.grader.plan(self.grader.options, False), cache=cache)
        try:
            with (
                RefereeProcess(plan.device, plan.threads) as referee,
                Evaluator(plan, self.launch, referee, self.grader.ceilings) as evaluator,
            ):
                yield evaluator
        except (PartyFailed, BadSolution) as error:
            raise ToolError(str(error)[-1500:]) from error


class Roofline(BaseModel):
    """Say how fast a problem could be on this device, and what bounds it: memory or compute."""

    problem: str = Field(description="Name of a problem, as in its file PROBLEM.py.")


class Profile(BaseModel):
    """Run your solution of a problem once under the profiler and list its kernels with their
    times.
    """

    problem: str = Field(description="Name of a problem, as in its file PROBLEM.py.")


class Disassembly(BaseModel):
    """Compile your solution of a problem and sum up its machine code: loads, matrix instructions,
    spills.
    """

    problem: str = Field(description="Name of a problem, as in its file PROBLEM.py.")


class Autotune(BaseModel):
    """Try your solution's UPPERCASE constants one at a time; report the times of each setting."""

    problem: str = Field(description="Name of a problem, as in its file PROBLEM.py.")
    rounds: int = Field(
        default=1, ge=1, le=4, description="How many steps to take from the best found."
    )


def roofline(call: Roofline, bench: Bench) -> str:
    """Bytes, FLOPs and the limit of every workload."""
    problem = bench.problem(call.problem)
    with bench.evaluator() as evaluator:
        bounds = evaluator.bounds(problem)
    lines = [f"{problem.name} on {evaluator.ceilings.device}:"]
    for workload, bound in zip(problem.sound, bounds, strict=True):
        products = [f"{v:.3g} {k} matrix FLOP" for k, v in bound.matmul_flops.items()]
        work = ", ".join([f"{bound.bytes:.3g} bytes", *products])
        limit = f"T_SOL {1e6 * bound.t_sol_s:.2f} us, bound by {bound.by}"
        lines.append(f"- {workload.axes}: {work}; {limit}")
    return "\n".join(lines)


def profile(call: Profile, bench: Bench) -> str:
    """Kernels (operations on a CPU) of one call of each workload."""
    problem = bench.problem(call.problem)
    with bench.evaluator() as evaluator:
        found = evaluator.search.profile(problem, solution_of(problem, bench.files))
    lines = []
    for workload, calls in zip(problem.sound, found, strict=True):
        if isinstance(calls, str):
            lines.append(f"- {workload.axes}: {calls[-400:]}")
            continue
        last = calls[-1]
        names: dict[str, int] = {}
        for name in last["kernels"]:
            names[name] = names.get(name, 0) + 1
        listed = ", ".join(f"{count} x {name}" for name, count in list(names.items())[:20])
        lines.append(f"- {workload.axes}: {1e6 * last['seconds']:.1f} us in {listed}")
    return "\n".join(lines)


def disassembly(call: Disassembly, bench: Bench) -> str:
    """A summary of every compiled kernel.

    Raises:
        ToolError: nothing was compiled, or no disassembler is installed.
    """
    problem = bench.problem(call.problem)
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        with bench.evaluator(Path(folder)) as evaluator:
            evaluator.quick(problem, [solution_of(problem, bench.files)])
        summaries = of_folder(Path(folder))
    if not summaries:
        raise ToolError("no machine code was found: it needs a GPU kernel and `cuobjdump`")
    return "\n".join(summary.text for summary in summaries[:12])


def autotune(call: Autotune, bench: Bench) -> str:
    """Times by setting, the quickest first."""
    problem = bench.problem(call.problem)
    with bench.evaluator() as evaluator:
        found = tune(evaluator, problem, solution_of(problem, bench.files), call.rounds)
    ordered = sorted(found.seconds.items(), key=lambda pair: pair[1])
    lines = [f"- {label}: {1e6 * seconds:.2f} us" for label, seconds in ordered]
    lines += [f"- {label}: failed: {error[-200:]}" for label, error in found.errors.items()]
    return "\n".join([f"geometric mean over {len(problem.sound)} workloads:", *lines])


TOOLS: tuple[tuple[str, type[BaseModel], Callable[[Any, Bench], str]], ...] = (
    ("roofline", Roofline, roofline),
    ("profile", Profile, profile),
    ("disassembly", Disassembly, disassembly),
    ("autotune", Autotune, autotune),
)
