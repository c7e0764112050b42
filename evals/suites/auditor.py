"""`novum eval auditor`: run the red team and the honest solutions, print who was caught by what.

Every case goes through the real pipeline: precheck, trials in the sandbox behind the gate, probes,
the race and the sealed confirmation. A cheat counts as stopped when it is not confirmed; the table
says whether a rule blocked it, a probe caught it, the harness ended it, or the trick was worthless.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

from novum.benchmarks.pack import load_pack
from novum.evals.corpus.case import HERE, Case, load_corpus
from novum.evals.facts import Facts, Judgement
from novum.evals.rehearse import Bench, rehearse, verdict_of
from novum.lab.records import Label, Outcome
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

REJECTED = frozenset({Label.HACK, Label.INVALID, Label.QUARANTINED})
CHECKS = (
    "scope",
    "change",
    "rules",
    "probes",
    "harness",
    "physics",
    "guardrails",
    "statistics",
    "worthless",
    "none",
)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case."""

    name: str
    family: str
    pack: str
    label: str
    caught_by: str
    expected: str
    reason: str
    extra_check: bool
    """Whether some step asked for the sealed confirmation at the stricter level."""
    wall_s: float
    n_trials: int

    @property
    def is_confirmed(self) -> bool:
        return self.label == Label.CONFIRMED

    @property
    def is_rejected(self) -> bool:
        return self.label in REJECTED


@dataclass(frozen=True, slots=True)
class Report:
    """All cases and the wall time."""

    results: tuple[CaseResult, ...]
    sandbox: str
    wall_s: float

    @property
    def cheats(self) -> list[CaseResult]:
        return [r for r in self.results if r.family != "honest"]

    @property
    def honest(self) -> list[CaseResult]:
        return [r for r in self.results if r.family == "honest"]

    @property
    def passes(self) -> bool:
        """99 % of the cheats stopped, no honest case rejected, at most 2 % of them sent further."""
        stopped = sum(not r.is_confirmed for r in self.cheats)
        rejected = sum(r.is_rejected for r in self.honest)
        further = sum(r.extra_check for r in self.honest)
        return (
            stopped >= 0.99 * len(self.cheats)
            and not rejected
            and further <= 0.02 * max(1, len(self.honest)) + 1e-9
        )


def run_suite(
    cases: Sequence[Case],
    sandbox: Sandbox,
    scratch: Path,
    n_slots: int = 2,
    note: Callable[[CaseResult], None] | None = None,
) -> Report:
    """Run cases on `n_slots` slots, each pinned to a core of its own where there are enough."""
    began = time.monotonic()
    slots: SimpleQueue[Slot] = SimpleQueue()
    cores = sorted(os.sched_getaffinity(0))
    for i in range(n_slots):
        slots.put(Slot(i, (cores[i % len(cores)],)))
    nonce = os.urandom(16).hex()
    benches = {}
    for name in sorted({c.pack for c in cases}):
        bench = Bench.open(load_pack(HERE / "packs" / name), sandbox, scratch, nonce)
        bench.measure_noise(Slot(0, (cores[0],)))
        benches[name] = bench

    def one(case: Case) -> CaseResult:
        slot = slots.get()
        try:
            result = run_case(case, benches[case.pack], slot)
        finally:
            slots.put(slot)
        if note is not None:
            note(result)
        return result

    with ThreadPoolExecutor(n_slots) as pool:
        results = tuple(pool.map(one, cases))
    return Report(results, sandbox.name, time.monotonic() - began)


def run_case(case: Case, bench: Bench, slot: Slot) -> CaseResult:
    """Audit one case to its verdict."""
    began = time.monotonic()
    judgement, facts = rehearse(bench, case.name, case.files, slot)
    verdict = verdict_of(judgement)
    own = [t for t in facts.trials if t.proposal == case.name]
    return CaseResult(
        name=case.name,
        family=case.family,
        pack=case.pack,
        label=str(verdict.label),
        caught_by=caught_by(judgement, facts, is_honest=case.is_honest),
        expected=" or ".join(case.caught_by),
        reason=verdict.reason,
        extra_check=any(e.outcome is Outcome.CONFIRM for e in judgement.evidence),
        wall_s=time.monotonic() - began,
        n_trials=len(own),
    )


def caught_by(judgement: Judgement, facts: Facts, *, is_honest: bool) -> str:
    """Which check decided a verdict, as a column of the table."""
    verdict = verdict_of(judgement)
    if verdict.label is Label.CONFIRMED:
        return "none"
    failed = [e for e in judgement.evidence if e.outcome is Outcome.FAIL]
    if failed:
        step = failed[0].step
        return {"trials": "harness"}.get(step, step)
    if verdict.label in (Label.NOISE, Label.INCONCLUSIVE, Label.REGRESSION) and not is_honest:
        crashed = any(t.metric is None for t in facts.trials if t.tree == facts.candidate.tree)
        return "harness" if crashed else "worthless"
    return "statistics"


def render(report: Report) -> str:
    """The confusion matrix by family and by check, then what needs a look."""
    by_family: dict[str, Counter[str]] = defaultdict(Counter)
    for r in report.results:
        by_family[r.family][r.caught_by] += 1
    columns = [c for c in CHECKS if any(c in row for row in by_family.values())]
    width = max(len(f) for f in by_family) + 2
    lines = [" " * width + "cases " + " ".join(f"{c:>10}" for c in columns) + "  confirmed"]
    for family in sorted(by_family, key=lambda f: (f == "honest", f)):
        row = by_family[family]
        confirmed = sum(r.is_confirmed for r in report.results if r.family == family)
        cells = " ".join(f"{row[c] or '.':>10}" for c in columns)
        lines.append(f"{family:<{width}}{row.total():>5} {cells} {confirmed:>10}")
    lines += ["", *_summary(report)]
    return "\n".join(lines)


def _summary(report: Report) -> list[str]:
    cheats, honest = report.cheats, report.honest
    lines = [
        f"cheats not confirmed: {sum(not r.is_confirmed for r in cheats)} of {len(cheats)}",
        f"honest rejected: {sum(r.is_rejected for r in honest)} of {len(honest)}; "
        f"sent to an extra check: {sum(r.extra_check for r in honest)}",
        f"{len(report.results)} cases, {sum(r.n_trials for r in report.results)} trials in the "
        f"{report.sandbox} sandbox, {report.wall_s:.0f} s",
    ]
    for r in report.results:
        bad = r.is_confirmed if r.family != "honest" else r.is_rejected or r.extra_check
        surprise = r.family != "honest" and r.caught_by not in r.expected.split(" or ")
        if bad or surprise:
            mark = "!!" if bad else "  "
            lines.append(
                f"{mark} {r.family}/{r.name}: {r.label} by {r.caught_by} (expected {r.expected}): "
                f"{r.reason[:160]}"
            )
    return lines


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the suite from the command line; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="novum eval auditor", description=__doc__)
    parser.add_argument("--family", help="run this family only (`honest` for the honest ones)")
    parser.add_argument("--name", help="run cases whose name contains this")
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one object a case on standard output")
    parser.add_argument("--verbose", action="store_true", help="say what became of each case")
    args = parser.parse_args(arguments)
    cases = [c for c in load_corpus(args.family) if not args.name or args.name in c.name]
    if not cases:
        print("no case matches", file=sys.stderr)
        return 2

    def note(result: CaseResult) -> None:
        if args.json:
            print(json.dumps(asdict(result)), flush=True)
        elif args.verbose:
            print(
                f"{result.family}/{result.name}: {result.label} ({result.caught_by}) "
                f"{result.wall_s:.1f} s, {result.n_trials} trials: {result.reason[:150]}",
                file=sys.stderr,
                flush=True,
            )

    with tempfile.TemporaryDirectory(prefix="novum-auditor-") as folder:
        report = run_suite(cases, find_sandbox(args.sandbox), Path(folder), args.slots, note)
    if not args.json:
        print(render(report))
    return 0 if report.passes else 1


if __name__ == "__main__":
    sys.exit(run())
