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

from novum.benchmarks.contract import shipped_cheats
from novum.benchmarks.pack import Pack, find_pack, installed_packs, load_pack
from novum.evals.corpus.case import HERE, Case, Check, load_corpus
from novum.evals.facts import Facts, Judgement
from novum.evals.rehearse import Bench, rehearse, verdict_of
from novum.lab.records import Label, Outcome
from novum.sandboxes.executor import make_slots
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

REJECTED = frozenset({Label.HACK, Label.INVALID, Label.QUARANTINED})
STOPPED: tuple[Check, ...] = ("rules", "probes", "harness", "physics", "guardrails", "worthless")
"""What may stop a cheat that a pack ships: it does not say which."""
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
    profile: str | None = None,
) -> Report:
    """Run cases on `n_slots` slots, each pinned to a core of its own where there are enough.

    A profile with GPUs has as many slots as there are GPUs for it.
    """
    began = time.monotonic()
    nonce = os.urandom(16).hex()
    benches = {}
    usual: Sequence[Slot] = cores_one_each(n_slots)
    for name in sorted({c.pack for c in cases}):
        bench = Bench.open(pack_of(name), sandbox, scratch, nonce, profile)
        size = bench.profile
        if size.gpus:
            usual = make_slots(size.cores, size.gpus)
        bench.measure_noise(usual[0])
        benches[name] = bench
    slots: SimpleQueue[Slot] = SimpleQueue()
    for slot in usual:
        slots.put(slot)

    def one(case: Case) -> CaseResult:
        slot = slots.get()
        try:
            result = run_case(case, benches[case.pack], slot)
        finally:
            slots.put(slot)
        if note is not None:
            note(result)
        return result

    with ThreadPoolExecutor(len(usual)) as pool:
        results = tuple(pool.map(one, cases))
    return Report(results, sandbox.name, time.monotonic() - began)


def cores_one_each(n_slots: int) -> list[Slot]:
    """Slots of one core; some share one where there are not enough."""
    cores = sorted(os.sched_getaffinity(0))
    return [Slot(i, (cores[i % len(cores)],)) for i in range(n_slots)]


def pack_of(name: str) -> Pack:
    """A pack of the corpus, or an installed one."""
    folder = HERE / "packs" / name
    return load_pack(folder) if folder.is_dir() else find_pack(name)


def shipped_cases(pack: Pack) -> list[Case]:
    """The cheats that a pack ships, and what it ships as honest though it looks odd."""
    found = []
    for kind, family, checks in (("cheats", pack.id, STOPPED), ("honest", "honest", ("none",))):
        for name, files in shipped_cheats(pack, kind=kind).items():
            found.append(Case(name, family, pack.id, "", checks, files))
    return found


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
    parser.add_argument(
        "--family", help="run this family only (`honest` for the honest ones, a pack for its own)"
    )
    parser.add_argument("--profile", help="size of the packs (default: their own)")
    parser.add_argument("--name", help="run cases whose name contains this")
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one object a case on standard output")
    parser.add_argument("--verbose", action="store_true", help="say what became of each case")
    args = parser.parse_args(arguments)
    family = load_corpus(args.family)
    if not family and args.family in installed_packs():
        family = shipped_cases(find_pack(args.family))
    cases = [c for c in family if not args.name or args.name in c.name]
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
        sandbox = find_sandbox(args.sandbox)
        report = run_suite(cases, sandbox, Path(folder), args.slots, note, args.profile)
    if not args.json:
        print(render(report))
    return 0 if report.passes else 1


if __name__ == "__main__":
    sys.exit(run())
