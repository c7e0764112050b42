"""Measures all problems on one machine, without the rest of Novum: two commands for a bare node.

    python -m novum.benchmarks.kernels.campaign survey OUT    ceilings, compile modes, constants
    python -m novum.benchmarks.kernels.campaign score OUT     the verified table, given a survey

`survey` is a search: times are quick and unverified. `score` is the evaluation: hidden inputs,
fresh processes, both arms interleaved. Problems are prepared side by side; whatever is timed is
alone on the device. Both write what they have after each problem, and stop starting new work at
the deadline.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from novum.benchmarks.kernels.autotune import replaced, tune, with_constants
from novum.benchmarks.kernels.baselines import MODES, baseline, mixed_baseline
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.ceilings import clocks
from novum.benchmarks.kernels.evaluator import Evaluator, Plan
from novum.benchmarks.kernels.parties import Gate, PartyFailed, RefereeProcess, python_path
from novum.benchmarks.kernels.problem import SHIPPED, Problem, load_problems
from novum.benchmarks.kernels.results import ProblemResult, table
from novum.benchmarks.kernels.roofline import Ceilings
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.trace import Trace
from novum.benchmarks.pack import read_tree
from novum.sandboxes.protocol import Limits
from novum.sandboxes.registry import find_sandbox

CHECK_ROUNDS = 4
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "CUDA_HOME", "CC", "CXX", "TRITON_INTERPRET")
GPU_LIMITS = Limits(
    wall_s=3600, memory_bytes=200 << 30, pids=8192, file_bytes=64 << 30, output_bytes=1 << 20
)


class Campaign:
    """What both commands share: the machine, the files and the clock."""

    def __init__(self, words: argparse.Namespace) -> None:
        self.out = Path(words.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.device = str(words.device)
        self.deadline_s = time.monotonic() + float(words.seconds)
        self.began_s = time.monotonic()
        self.workers = int(words.parallel)
        self.threads = 1 if self.device == "cpu" else 2
        self.files = read_tree(Path(words.solutions))
        profile = "cpu" if self.device == "cpu" else "cuda"
        self.problems = load_problems(Path(words.problems), words.select.split(","), profile)
        self.launch = find_sandbox(words.sandbox).start
        self.gate = Gate()
        self.lock = threading.Lock()
        self.own = threading.local()
        self.stack = ExitStack()
        self.ceilings = self.measure_ceilings()
        kept = {k: os.environ[k] for k in KEPT_VARIABLES if k in os.environ}
        kept["TORCHINDUCTOR_COMPILE_THREADS"] = "1" if self.device == "cpu" else "3"
        self.plan = Plan(
            device=self.device,
            rounds=int(words.rounds),
            processes=int(words.processes),
            calls=int(words.calls),
            warmups=2,
            threads=self.threads,
            set_bytes=2 << 30,
            profile=self.device != "cpu",
            stage_s=150,
            limits=GPU_LIMITS,
            gpus=() if self.device == "cpu" else ("0",),
            env=kept,
            cache=Path(tempfile.mkdtemp(prefix="nc-")),
        )

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self.stack.close()

    def measure_ceilings(self) -> Ceilings:
        """Ceilings in a process of their own; kept in the output folder."""
        argv = [sys.executable, "-m", f"{__package__}.ceilings", self.device, str(self.threads)]
        done = subprocess.run(
            argv,
            env=dict(os.environ) | {"PYTHONPATH": python_path()},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"the ceilings could not be measured: {done.stderr[-2000:]}")
        found = Ceilings.model_validate_json(done.stdout.strip().splitlines()[-1])
        (self.out / "ceilings.json").write_text(found.model_dump_json(indent=1))
        self.say(f"ceilings {found.model_dump_json()}")
        return found

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.deadline_s

    def say(self, text: str) -> None:
        """One line of progress with its time."""
        print(f"[{time.monotonic() - self.began_s:6.1f}] {text}", flush=True)

    def each(self, work: Callable[[Evaluator, Problem], None]) -> None:
        """Run `work` on every problem, several side by side, each with a referee of its own."""

        def one(problem: Problem) -> None:
            if self.is_late:
                self.say(f"{problem.name}: left out, the time is up")
                return
            try:
                work(self.evaluator(), problem)
            except Exception:
                self.say(f"{problem.name}: {traceback.format_exc()[-1500:]}")

        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(one, sorted(self.problems, key=cost_of, reverse=True)))

    def evaluator(self) -> Evaluator:
        """The calling thread's own evaluator, with its own referee and sandboxes."""
        found: Evaluator | None = getattr(self.own, "evaluator", None)
        if found is None or found.is_broken:
            referee = RefereeProcess(self.device, self.threads)
            found = Evaluator(self.plan, self.launch, referee, self.ceilings, self.gate)
            with self.lock:
                self.stack.enter_context(referee)
                self.stack.enter_context(found)
            self.own.evaluator = found
        return found


def cost_of(problem: Problem) -> int:
    """Problems with matrix products compile longest: they start first."""
    return int("matmul" in problem.definition.reference or "@" in problem.definition.reference)


def survey(campaign: Campaign) -> None:
    """Quick times of the compile modes and of every constant's neighbours."""
    found: dict[str, Any] = {}

    def work(evaluator: Evaluator, problem: Problem) -> None:
        references = [baseline(problem.definition, mode) for mode in MODES]
        record: dict[str, Any] = {
            "modes": dict(zip(MODES, evaluator.quick(problem, references), strict=True))
        }
        try:
            solution = solution_of(problem, campaign.files)
            record["check"] = check(evaluator, problem, solution)
            if not campaign.is_late:
                best = tune(evaluator, problem, solution)
                record["tuned"] = best.constants
                record["seconds"] = best.seconds
                record["errors"] = best.errors
        except (BadSolution, PartyFailed) as error:
            record["errors"] = {"solution": str(error)[-500:]}
        with campaign.lock:
            found[problem.name] = record
            (campaign.out / "survey.json").write_text(json.dumps(found, indent=1))
        campaign.say(f"{problem.name}: {summary(record)}")

    campaign.each(work)


def check(evaluator: Evaluator, problem: Problem, solution: Solution) -> dict[str, str]:
    """Status of each workload after a few untimed rounds."""
    plan = replace(evaluator.plan, rounds=CHECK_ROUNDS, processes=0)
    eager = baseline(problem.definition, "eager")
    with evaluator.under(plan):
        result = evaluator.evaluate(problem, solution, eager, secrets.token_hex(16))
    return {r.workload.uuid: f"{r.status} {r.log[-400:]}".strip() for r in result.results}


def summary(record: dict[str, Any]) -> str:
    """A survey's record in one line."""
    modes = {
        mode: [round(1e6 * s, 1) for s in times.values()]
        if isinstance(times, dict)
        else times[-160:]
        for mode, times in record["modes"].items()
    }
    ours = {k: round(1e6 * v, 1) for k, v in record.get("seconds", {}).items()}
    bad = {k[:8]: v for k, v in record.get("check", {}).items() if v != "PASSED"}
    rest = f"best {record.get('tuned')} errors {record.get('errors')} check {bad or 'passed'}"
    return f"modes {modes} ours {ours} {rest}"


def best_modes(problem: Problem, record: dict[str, Any]) -> dict[str, str]:
    """The quickest mode of each workload, `default` where nothing is known."""
    chosen = {}
    for workload in problem.workloads:
        times = {
            mode: found[workload.uuid]
            for mode, found in record.get("modes", {}).items()
            if isinstance(found, dict) and workload.uuid in found
        }
        chosen[workload.uuid] = min(times, key=lambda mode: times[mode]) if times else "default"
    return chosen


def score(campaign: Campaign, surveyed: dict[str, Any]) -> list[ProblemResult]:
    """The evaluation: tuned solutions against the best compile mode of each workload."""
    results: list[ProblemResult] = []
    solutions: dict[str, str] = {}
    nonce = secrets.token_hex(16)

    def arms(problem: Problem) -> tuple[Solution, Solution]:
        record = surveyed.get(problem.name, {})
        solution = tuned(solution_of(problem, campaign.files), record.get("tuned", {}))
        modes = best_modes(problem, record)
        return solution, mixed_baseline(problem.definition, problem.workloads, modes)

    def warm(evaluator: Evaluator, problem: Problem) -> None:
        wrong = evaluator.warm(problem, *arms(problem))
        campaign.say(f"{problem.name}: compiled {wrong or ''}")

    def work(evaluator: Evaluator, problem: Problem) -> None:
        solution, reference = arms(problem)
        result = evaluator.evaluate(problem, solution, reference, nonce)
        with campaign.lock:
            results.append(result)
            solutions[problem.name] = solution.model_dump_json()
            write(campaign.out, results, solutions, nonce, surveyed)
        campaign.say(f"{problem.name}: done, overhead {result.overhead_s:.1f} s")
        print(table([result]).rsplit("\n", 1)[0].split("\n", 1)[1], flush=True)

    campaign.each(warm)
    campaign.each(work)
    return results


def tuned(solution: Solution, constants: dict[str, int]) -> Solution:
    """A solution with the constants that a survey found."""
    entry = solution.spec.entry_file
    return replaced(solution, entry, with_constants(solution.files[entry].decode(), constants))


def write(
    out: Path,
    results: Sequence[ProblemResult],
    solutions: dict[str, str],
    nonce: str,
    surveyed: dict[str, Any],
) -> None:
    """Everything that is known so far: traces, table, solutions, seeds, clocks."""
    ordered = sorted(results, key=lambda r: r.problem.name)
    lines = [line for r in ordered for line in r.traces()]
    (out / "traces.jsonl").write_text("".join(trace_line(line) + "\n" for line in lines))
    (out / "table.txt").write_text(table(ordered) + "\n")
    (out / "solutions.json").write_text(json.dumps(solutions, indent=1, sort_keys=True))
    facts = {
        "scores": {r.problem.name: r.score for r in ordered},
        "mean": sum(r.score for r in ordered) / len(ordered),
        "quarantined": {r.problem.name: r.quarantined for r in ordered if r.quarantined},
        "overhead_s": {r.problem.name: round(r.overhead_s, 2) for r in ordered},
        "nonce": nonce,
        "clocks": clocks(),
        "modes": {
            r.problem.name: best_modes(r.problem, surveyed.get(r.problem.name, {})) for r in ordered
        },
    }
    (out / "summary.json").write_text(json.dumps(facts, indent=1))


def trace_line(trace: Trace) -> str:
    """One line of a trace file."""
    return json.dumps(trace.model_dump(mode="json", exclude_none=True), allow_nan=False)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("command", choices=("survey", "score"))
    parser.add_argument("out", help="folder for results")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument(
        "--sandbox", default="process", help="the solutions are yours; `auto` isolates"
    )
    parser.add_argument("--problems", default=str(SHIPPED))
    parser.add_argument("--solutions", default=str(Path(__file__).parent / "start" / "triton"))
    parser.add_argument("--select", default="*", help="names or globs, with commas between them")
    parser.add_argument("--survey", help="survey.json of an earlier command (score)")
    parser.add_argument("--seconds", default=500.0, type=float, help="no new problem after this")
    parser.add_argument("--parallel", default=5, type=int)
    parser.add_argument("--rounds", default=10, type=int)
    parser.add_argument("--processes", default=5, type=int)
    parser.add_argument("--calls", default=15, type=int)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command."""
    chosen = parse(words)
    with Campaign(chosen) as campaign:
        return conduct(campaign, chosen)


def conduct(campaign: Campaign, chosen: argparse.Namespace) -> int:
    """Carry out the chosen command."""
    if chosen.command == "survey":
        survey(campaign)
    else:
        path = Path(chosen.survey) if chosen.survey else campaign.out / "survey.json"
        surveyed = json.loads(path.read_text()) if path.is_file() else {}
        results = score(campaign, surveyed)
        print(table(sorted(results, key=lambda r: r.problem.name)))
    campaign.say(f"finished; clocks {clocks()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
