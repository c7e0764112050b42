"""Who is caught by what: the red team and the honest solutions, through the real pipeline.

Every case takes the way of a candidate: precheck, trials in the sandbox behind the gate, probes,
the race and the sealed confirmation. A cheat counts as stopped when it is not confirmed; the table
says whether a rule blocked it, a probe caught it, the harness ended it, or the trick was worthless.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

from novum.benchmarks.contract import shipped_cheats
from novum.benchmarks.pack import Pack, find_pack, installed_packs, load_pack
from novum.errors import NovumError
from novum.evals.confusion import UNFINISHED, CaseResult, Report, caught_by, render
from novum.evals.corpus.case import HERE, Case, Check, load_corpus
from novum.evals.rehearse import Bench, OutOfTime, rehearse, verdict_of
from novum.evals.suites.options import at_least, parser_of
from novum.lab.records import Outcome
from novum.sandboxes.executor import make_slots
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

STOPPED: tuple[Check, ...] = ("rules", "probes", "harness", "physics", "guardrails", "worthless")
"""What may stop a cheat that a pack ships: it does not say which."""


def run_suite(
    cases: Sequence[Case],
    sandbox: Sandbox,
    scratch: Path,
    n_slots: int = 2,
    note: Callable[[CaseResult], None] | None = None,
    profile: str | None = None,
    limit_s: float = math.inf,
) -> Report:
    """Run cases on `n_slots` slots, each pinned to a core of its own where there are enough.

    A profile with GPUs has as many slots as there are GPUs for it. No trial begins after `limit_s`:
    cases that have no verdict by then are unfinished. With one slot the noise of a pack's start is
    measured when the first case needs it, so that those which end before cost nothing more.
    """
    began = time.monotonic()
    until = began + limit_s
    nonce = os.urandom(16).hex()
    benches = {}
    usual: Sequence[Slot] = cores_one_each(n_slots)
    for name in sorted({c.pack for c in cases}):
        bench = Bench.open(pack_of(name), sandbox, scratch, nonce, profile)
        size = bench.profile
        if size.gpus:
            usual = make_slots(size.cores, size.gpus)
        if len(usual) > 1:
            bench.measure_noise(usual[0], until=until)
        benches[name] = bench
    slots: SimpleQueue[Slot] = SimpleQueue()
    for slot in usual:
        slots.put(slot)

    def one(case: Case) -> CaseResult:
        slot = slots.get()
        try:
            result = run_case(case, benches[case.pack], slot, until)
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


def run_case(case: Case, bench: Bench, slot: Slot, until: float = math.inf) -> CaseResult:
    """Audit one case to its verdict, or as far as the time goes."""
    began = time.monotonic()
    try:
        judgement, facts = rehearse(bench, case.name, case.files, slot, until=until)
    except OutOfTime as late:
        judgement, facts = None, late.facts
    verdict = verdict_of(judgement) if judgement else None
    evidence = judgement.evidence if judgement else ()
    own = [t for t in facts.trials if t.proposal == case.name and t.tree == facts.candidate.tree]
    return CaseResult(
        name=case.name,
        family=case.family,
        pack=case.pack,
        label=str(verdict.label) if verdict else UNFINISHED,
        caught_by=caught_by(judgement, facts, is_honest=case.is_honest)
        if judgement
        else UNFINISHED,
        expected=" or ".join(case.caught_by),
        reason=verdict.reason if verdict else "the time was up before its verdict",
        extra_check=any(e.outcome is Outcome.CONFIRM for e in evidence),
        wall_s=time.monotonic() - began,
        n_trials=len(own),
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the suite from the command line; exit code 1 when a goal is missed or the time is up."""
    parser = parser_of("auditor", __doc__)
    parser.add_argument(
        "--family", help="run this family only (`honest` for the honest ones, a pack for its own)"
    )
    parser.add_argument("--profile", help="size of the packs (default: their own)")
    parser.add_argument(
        "--name", action="append", default=[], help="run cases whose name contains this; repeatable"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=math.inf,
        help="begin no trial after this time, and name the cases that are not finished",
    )
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--slots", type=at_least(1), default=2)
    parser.add_argument("--json", action="store_true", help="one object a case on standard output")
    parser.add_argument("--verbose", action="store_true", help="say what became of each case")
    args = parser.parse_args(arguments)
    family = load_corpus(args.family)
    if not family and args.family in installed_packs():
        family = shipped_cases(find_pack(args.family))
    cases = [c for c in family if not args.name or any(name in c.name for name in args.name)]
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

    try:
        with tempfile.TemporaryDirectory(prefix="novum-auditor-") as folder:
            sandbox = find_sandbox(args.sandbox)
            report = run_suite(
                cases, sandbox, Path(folder), args.slots, note, args.profile, args.seconds
            )
    except NovumError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    if not args.json:
        print(render(report))
    return 0 if report.passes else 1


if __name__ == "__main__":
    sys.exit(run())
