"""Grade a trial of the kernels pack: the mean score over the problems that the profile selects."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from novum.benchmarks.kernels.baselines import MODES, baseline, mixed_baseline
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.evaluator import Evaluator, Plan
from novum.benchmarks.kernels.parties import PartyFailed, RefereeProcess, python_path
from novum.benchmarks.kernels.problem import SHIPPED, Problem, fingerprint, load_problems
from novum.benchmarks.kernels.results import ProblemResult, WorkloadResult, faulty
from novum.benchmarks.kernels.roofline import Ceilings
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.trace import Status
from novum.benchmarks.pack import Profile
from novum.benchmarks.protocol import CandidateFailed, Graded, TrialContext
from novum.errors import DataMissing, PackError, SandboxLost
from novum.lab.records import Outcome, Probe, TrialStatus

CEILINGS_S = 300
MOST_NAMED = 40
"""How many faults a probe lists; the trace has all of them."""


class Options(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """`options` of a profile."""

    path: str = ""
    """A folder in the format of SOL-ExecBench; empty means the problems of this pack."""
    problems: tuple[str, ...] = ("*",)
    """Names or globs. The metric is the mean over those; one or a few make the best run."""
    rounds: int = Field(default=10, ge=2)
    processes: int = Field(default=5, ge=1)
    calls: int = Field(default=15, ge=3)
    baseline: Literal["eager", "default", "max-autotune-no-cudagraphs", "best"] = "best"
    """What T_b is: the reference as it is, under one mode of torch.compile, or under its best."""
    profiler: bool = True


class Grader:
    """Evaluates every selected problem; what it finds goes into a trace file and into probes."""

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        self.profile = profile
        self.cache = cache
        self.device = "cuda:0" if profile.gpus else "cpu"
        self.options = self.options_at("full")
        root = Path(self.options.path) if self.options.path else SHIPPED
        self.problems = load_problems(
            root,
            self.options.problems,
            "cuda" if profile.gpus else "cpu",
            strict=not self.options.path,
        )
        self.modes: dict[str, dict[str, str]] = {}
        self.ceilings: Ceilings | None = None

    def options_at(self, fidelity: str) -> Options:
        """The options of a fidelity: those of the profile with its own over them.

        Raises:
            PackError: a key is unknown or wrong.
        """
        over = {} if fidelity == "full" else self.profile.fidelities[fidelity].options
        try:
            return Options.model_validate(self.profile.options | over)
        except ValidationError as error:
            raise PackError(f"kernels, profile {self.profile.name}: {error}") from error

    def prepare(self) -> str:
        """Measure the ceilings of this device once; the fingerprint covers the problems' files.

        Raises:
            DataMissing: the device is not there, or has no PyTorch.
        """
        if self.ceilings is None:
            self.ceilings = self.ceilings_of_device()
        return fingerprint(self.problems)

    def ceilings_of_device(self) -> Ceilings:
        """Read what was measured here before, or measure."""
        self.cache.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(f"{self.device} {os.uname().nodename} {self.profile.cores}".encode())
        path = self.cache / f"ceilings-{key.hexdigest()[:16]}.json"
        if path.is_file():
            return Ceilings.model_validate_json(path.read_text())
        argv = [sys.executable, "-m", "novum.benchmarks.kernels.ceilings"]
        done = subprocess.run(
            [*argv, self.device, str(self.profile.cores)],
            env=dict(os.environ)
            | {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": str(self.profile.cores)},
            capture_output=True,
            text=True,
            timeout=CEILINGS_S,
            check=False,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise DataMissing(
                f"the ceilings of {self.device} cannot be measured: {last[0]}.\n"
                "This pack needs PyTorch (`pip install 'novum[train]'`), and a GPU for `cuda`."
            )
        found = Ceilings.model_validate_json(done.stdout.strip().splitlines()[-1])
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(found.model_dump_json(indent=1))
        partial.replace(path)
        return found

    def trial(self, context: TrialContext) -> Graded:
        """Evaluate the candidate; see `Grader` of the protocol."""
        self.prepare()
        assert self.ceilings is not None
        request = context.request
        options = self.options_at("full" if request.smoke else request.fidelity)
        plan = self.plan(options, request.smoke, needs_compiler(request.files))
        nonce = f"{request.seed}-{secrets.token_hex(16)}"
        results: list[ProblemResult] = []
        try:
            with (
                RefereeProcess(self.device, plan.threads) as referee,
                Evaluator(plan, context.launch, referee, self.ceilings) as evaluator,
            ):
                evaluator.start()
                for problem in self.problems:
                    results.append(self.evaluate(evaluator, problem, context, options, nonce))
                    state = {str(r.status) for r in results[-1].results}
                    context.phase("problem", problem=problem.name, statuses=sorted(state))
        except PartyFailed as error:
            raise PackError(f"the referee cannot work here: {error}") from error
        self.keep(context, results)
        if lost := next((p.lost for p in results if p.lost), ""):
            raise SandboxLost(lost)
        return graded(results)

    def evaluate(
        self,
        evaluator: Evaluator,
        problem: Problem,
        context: TrialContext,
        options: Options,
        nonce: str,
    ) -> ProblemResult:
        """One problem; a candidate without a usable solution fails all its workloads."""
        if not problem.sound:
            return faulty(problem, evaluator.ceilings.device)
        try:
            solution = solution_of(problem, context.request.files)
        except BadSolution as error:
            return faulty(problem, evaluator.ceilings.device, str(error))
        reference = self.reference(evaluator, problem, options.baseline)
        return evaluator.evaluate(problem, solution, reference, nonce)

    def reference(self, evaluator: Evaluator, problem: Problem, mode: str) -> Solution:
        """The baseline of a problem; which compile mode is best is found once and kept."""
        if mode != "best":
            return baseline(problem.definition, mode)
        key = hashlib.sha256(
            json.dumps(
                [problem.definition.model_dump(mode="json"), evaluator.ceilings.device]
            ).encode()
        ).hexdigest()[:16]
        path = self.cache / f"modes-{key}.json"
        if problem.name not in self.modes and path.is_file():
            self.modes[problem.name] = json.loads(path.read_text())
        known = self.modes.get(problem.name, {})
        if any(w.uuid not in known for w in problem.sound):
            tried = [baseline(problem.definition, m) for m in MODES]
            times = dict(zip(MODES, evaluator.quick(problem, tried), strict=True))
            for workload in problem.sound:
                by_mode = {
                    m: t[workload.uuid]
                    for m, t in times.items()
                    if not isinstance(t, str) and workload.uuid in t
                }
                best = min(by_mode, key=lambda m: by_mode[m]) if by_mode else "eager"
                known = {**known, workload.uuid: best}
            self.modes[problem.name] = known
            path.write_text(json.dumps(known))
        return mixed_baseline(problem.definition, problem.sound, known)

    def plan(self, options: Options, is_smoke: bool, compiles: bool = True) -> Plan:
        """How thoroughly to measure; a smoke test only shows that the code works.

        `compiles` says whether the candidate is likely to use Triton or torch.compile.
        """
        on_gpu = self.device != "cpu"
        return Plan(
            device=self.device,
            rounds=2 if is_smoke else options.rounds,
            processes=1 if is_smoke else options.processes,
            calls=3 if is_smoke else options.calls,
            warmups=2,
            threads=self.profile.cores,
            early=options.baseline not in ("eager", "best")
            or (on_gpu and (compiles or options.baseline == "best")),
            profile=on_gpu and options.profiler and not is_smoke,
            stage_s=self.profile.score_s,
            reference_s=self.profile.score_s,
            limits=self.profile.limits(3600),
        )

    def keep(self, context: TrialContext, results: list[ProblemResult]) -> None:
        """Write the trace file of the trial where the run can find it."""
        folder = self.cache / "traces"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps(t.model_dump(mode="json", exclude_none=True), allow_nan=False)
            for result in results
            for t in result.traces()
        ]
        path = folder / f"{context.request.tree[:16]}-{context.request.seed}.jsonl"
        path.write_text("".join(line + "\n" for line in lines))
        context.phase("traces", file=path.name, lines=len(lines))


def needs_compiler(files: Mapping[str, bytes]) -> bool:
    """Whether some file speaks of Triton or torch.compile; wrong guesses only cost time."""
    return any(word in text for text in files.values() for word in (b"triton", b"torch.compile"))


def graded(results: list[ProblemResult]) -> Graded:
    """The metric, the numbers beside it and the probes.

    Raises:
        CandidateFailed: no workload of any problem passed.
    """
    flat = [(p.problem.name, r) for p in results for r in p.results]
    passed = [r for _, r in flat if r.status is Status.PASSED]
    if not passed:
        name, first = flat[0]
        status = TrialStatus.TIMEOUT if first.status is Status.TIMEOUT else TrialStatus.CRASHED
        raise CandidateFailed(f"{name}: {first.status}: {first.log[-1500:]}", status)
    observed = {f"score.{p.problem.name}": p.score for p in results}
    observed |= {
        "workloads": float(len(flat)),
        "passed": float(len(passed)),
        "overhead_s": sum(p.overhead_s for p in results),
    }
    timed = [r for r in passed if r.is_timed]
    if timed:
        gains = [r.baseline.time_s / r.candidate.time_s for r in timed]
        observed["speedup"] = statistics.geometric_mean(gains)
    metric = statistics.fmean(p.score for p in results)
    return Graded(metric=metric, observed=observed, probes=probes_of(flat))


def probes_of(flat: list[tuple[str, WorkloadResult]]) -> tuple[Probe, ...]:
    """What the evaluation asked of the kernels, as probes of the audit."""
    hacks = [f"{name}: {r.log}" for name, r in flat if r.status is Status.REWARD_HACK]
    wrong = [
        f"{name}: {r.log}"
        for name, r in flat
        if r.status in WRONG and not r.log.startswith("timed call")
    ]
    replayed = [f"{name}: {r.log}" for name, r in flat if r.log.startswith("timed call")]
    held = [f"{name}: {r.quarantine}" for name, r in flat if r.quarantine]
    failed = [f"{name}: {r.status}: {r.log}" for name, r in flat if r.status in CRASHES]
    return (
        probe("conduct", hacks, Outcome.FAIL, "inputs, outputs and results behaved"),
        probe("correct", wrong, Outcome.FAIL, "right on hidden inputs of every family"),
        probe("timed-outputs", replayed, Outcome.FAIL, "the outputs of timed calls are right"),
        probe("physics", held, Outcome.FAIL, "times above the floor, both clocks agree"),
        probe("complete", failed, Outcome.NOTE, "every workload was measured"),
    )


WRONG = (Status.INCORRECT_NUMERICAL, Status.INCORRECT_DTYPE, Status.INCORRECT_SHAPE)
CRASHES = (
    Status.RUNTIME_ERROR,
    Status.COMPILE_ERROR,
    Status.TIMEOUT,
    Status.INVALID_REFERENCE,
)


def probe(name: str, problems: list[str], bad: Outcome, good: str) -> Probe:
    """One probe: it passed, or says where it did not."""
    if not problems:
        return Probe(name, Outcome.PASS, good)
    each = list(dict.fromkeys(ends(p, 200) for p in problems))
    if len(each) > MOST_NAMED:
        each = [*each[:MOST_NAMED], f"... and {len(each) - MOST_NAMED} others"]
    return Probe(name, bad, ends(problems[0], 400), {"all": each})


def ends(text: str, limit: int) -> str:
    """A long text by its beginning, which names the problem, and its end, which says the most."""
    return text if len(text) <= limit else f"{text[: limit // 4]} ... {text[-(3 * limit // 4) :]}"
