"""Measure a design with the project's own harness, one trial a core, until the time is up.

It needs Python, numpy, pydantic and psutil, and what the pack trains with: so it runs on a bare
node. Every trial is a line of JSON that is written when it ends; a second call with the same
folder goes on where the first stopped.

    python -m novum.evals.suites.surrogate.measure FOLDER --seconds 540
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import count, islice
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from novum.benchmarks.evaluate import CACHE, failed_probes
from novum.benchmarks.harness import hardware_class, harness_digest, run_trial, tree_hash
from novum.benchmarks.moves import load_playbook
from novum.benchmarks.pack import Pack, Profile, find_pack
from novum.benchmarks.protocol import Grader, TrialRequest, TrialResult
from novum.errors import NovumError, UsageError
from novum.evals.suites.surrogate.design import Arm, arms, build
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

TRIALS, MACHINE, DESIGN = "trials.jsonl", "machine.json", "design.json"
SPARE_CORES = 2
STARTUP_S = 20.0
"""What a trial may take besides its budget, until one of its fidelity was seen."""
MARGIN = 1.3
MAX_FAULTS = 3
"""Faults of the machine in a row after which a worker gives up."""


@dataclass(frozen=True)
class Plan:
    """What every worker does."""

    pack: Pack
    profile: Profile
    grader: Grader
    sandbox: str
    folder: Path
    design: tuple[Arm, ...]
    done: frozenset[int]
    began_s: float
    """On the monotonic clock, which processes of one machine share."""
    end_s: float


def work(plan: Plan, core: int, turn: Synchronized[int]) -> None:
    """Take one arm after another until the next could not end in time."""
    os.sched_setaffinity(0, {core})
    sandbox = find_sandbox(plan.sandbox)
    techniques = load_playbook(plan.pack.folder / "playbook")
    start = plan.pack.start_files()
    longest: dict[str, float] = {}
    n_faults = 0
    while True:
        with turn.get_lock():
            index = next(i for i in count(turn.value) if i not in plan.done)
            turn.value = index + 1
        if index >= len(plan.design):
            return
        arm = plan.design[index]
        files = build(techniques, start, arm.names)
        if files is None:
            raise UsageError(f"{', '.join(arm.names)} of the design no longer apply")
        budget_s = plan.profile.budget(arm.fidelity)
        needed_s = MARGIN * longest.get(arm.fidelity, budget_s + STARTUP_S)
        began_s = time.monotonic()
        if began_s + needed_s > plan.end_s:
            return
        row: dict[str, object] = {
            "index": index,
            "names": arm.names,
            "fidelity": arm.fidelity,
            "seed": secrets.randbits(31),
            "core": core,
            "at_s": round(began_s - plan.began_s, 1),
        }
        try:
            result = measure(plan, sandbox, Slot(core, (core,)), files, row)
            n_faults, row = 0, row | facts(result)
        except NovumError as error:  # the machine's fault: said, and the arm is tried no more
            n_faults, row = n_faults + 1, row | {"status": "lost", "error": str(error)[-300:]}
        took_s = time.monotonic() - began_s
        longest[arm.fidelity] = max(longest.get(arm.fidelity, 0.0), took_s)
        with (plan.folder / TRIALS).open("a") as file:
            file.write(json.dumps(row | {"took_s": round(took_s, 2)}) + "\n")
        if n_faults == MAX_FAULTS:
            return


def measure(
    plan: Plan, sandbox: Sandbox, slot: Slot, files: Mapping[str, bytes], row: Mapping[str, object]
) -> TrialResult:
    """One trial of the design."""
    request = TrialRequest(
        files, tree_hash(files), int(str(row["seed"])), "search", str(row["fidelity"])
    )
    with tempfile.TemporaryDirectory(prefix="novum-") as scratch:
        return run_trial(
            request,
            pack=plan.pack,
            profile=plan.profile,
            grader=plan.grader,
            sandbox=sandbox,
            slot=slot,
            scratch=Path(scratch),
        )


def facts(result: TrialResult) -> dict[str, object]:
    """What is kept of one result."""
    return {
        "status": str(result.status),
        "metric": result.metric,
        "failed": failed_probes(result),
        "observed": {k: round(v, 4) for k, v in result.observed.items()},
        "claimed": {k: round(v, 4) for k, v in result.claimed.items()},
        "error": result.error[-300:],
    }


def read_design(folder: Path, pack: Pack, n_trials: int, cheap: str | None) -> tuple[Arm, ...]:
    """The design that lies in the folder; it is made there when there is none."""
    path = folder / DESIGN
    if not path.exists():
        techniques = load_playbook(pack.folder / "playbook")
        made = islice(arms(techniques, pack.start_files(), "surrogate", cheap), n_trials)
        lines = [json.dumps([arm.fidelity, *arm.names]) for arm in made]
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return tuple(Arm(tuple(names), fidelity) for fidelity, *names in json.loads(path.read_text()))


def read_trials(folder: Path) -> list[dict[str, object]]:
    """All whole lines so far; one that a kill cut short is left out."""
    path = folder / TRIALS
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def machine(plan: Plan, cores: Sequence[int]) -> dict[str, object]:
    """Where and on what it was measured."""

    def found(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    return {
        "hardware": hardware_class(plan.profile),
        "n_cores": os.cpu_count(),
        "workers": len(cores),
        "python": platform.python_version(),
        "torch": found("torch"),
        "numpy": found("numpy"),
        "pack": plan.pack.id,
        "profile": plan.profile.name,
        "clock": plan.profile.clock,
        "budget_s": plan.profile.budget_s,
        "fidelities": {k: v.budget_s for k, v in plan.profile.fidelities.items()},
        "sandbox": plan.sandbox,
        "harness": harness_digest(plan.pack, plan.grader.prepare()),
        "data": plan.grader.prepare(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of a bare node."""
    parser = argparse.ArgumentParser(
        prog="novum.evals.suites.surrogate.measure", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="where the trials are written")
    parser.add_argument("--pack", default="nanochat")
    parser.add_argument("--profile")
    parser.add_argument("--budget", type=float, help="seconds instead of the profile's")
    parser.add_argument("--cheap", help="a lower fidelity to measure too")
    parser.add_argument("--trials", type=int, default=1200, help="length of the design")
    parser.add_argument("--design-only", action="store_true", help="only write the design")
    parser.add_argument("--workers", type=int, help="default: all cores but two")
    parser.add_argument("--seconds", type=float, default=540.0, help="time limit, all included")
    parser.add_argument("--sandbox", default="process")
    parser.add_argument("--cache", type=Path, default=CACHE)
    said = parser.parse_args(arguments)
    began_s = time.monotonic()
    said.folder.mkdir(parents=True, exist_ok=True)
    pack = find_pack(said.pack)
    profile = pack.profile(said.profile)
    if said.budget is not None:
        profile = profile.model_copy(update={"budget_s": said.budget})
    if said.cheap is not None:
        profile.budget(said.cheap)  # an unknown one is refused now
    grader = pack.grader(profile, said.cache.expanduser())
    if not said.design_only:
        grader.prepare()
    done = frozenset(int(str(row["index"])) for row in read_trials(said.folder))
    end_s = began_s + said.seconds
    design = read_design(said.folder, pack, said.trials, said.cheap)
    if said.design_only:
        return 0
    plan = Plan(pack, profile, grader, said.sandbox, said.folder, design, done, began_s, end_s)
    allowed = sorted(os.sched_getaffinity(0))
    n_workers = said.workers or max(1, len(allowed) - SPARE_CORES)
    cores = allowed[-n_workers:]
    (said.folder / MACHINE).write_text(json.dumps(machine(plan, cores), indent=1) + "\n")
    print(f"prepared in {time.monotonic() - began_s:.0f} s; {len(cores)} workers", flush=True)
    context = multiprocessing.get_context("fork")
    turn = context.Value("q", 0)
    workers = [context.Process(target=work, args=(plan, core, turn)) for core in cores]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(max(0.0, end_s - time.monotonic()))
        if worker.is_alive():  # its trial takes longer than any before: the time is up
            worker.terminate()
            worker.join()
    rows = read_trials(said.folder)
    n_good = sum(row["status"] == "finished" for row in rows)
    print(f"{len(rows)} trials, {n_good} finished, in {time.monotonic() - began_s:.0f} s")
    return 0 if n_good else 1


if __name__ == "__main__":
    sys.exit(main())
