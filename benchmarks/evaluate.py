"""Measure one candidate on a pack, without a run: trials, no ledger, no agents.

It needs Python, numpy, pydantic and psutil (torch for the packs that train with it), so it works on
a bare node: `python -m novum.benchmarks.evaluate FOLDER --pack nanochat --profile gpu`. The command
`novum evaluate` is the same.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from novum.benchmarks.harness import hardware_class, harness_digest, run_trial, tree_hash
from novum.benchmarks.pack import Pack, Profile, find_pack, read_tree
from novum.benchmarks.protocol import Grader, TrialRequest, TrialResult
from novum.errors import NovumError, UsageError
from novum.lab.records import Outcome, Split, TrialStatus
from novum.sandboxes.executor import make_slots
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

CACHE = Path("~/.cache/novum")
MOST_LINES = 8
"""How many lines of an error are shown: its end says the most."""
MOST_REMARKS = 12
"""How many remarks on one trial a person wants to read."""


@dataclass(frozen=True)
class Bench:
    """A pack that is ready to measure candidates on this machine, one at a time."""

    pack: Pack
    profile: Profile
    grader: Grader
    sandbox: Sandbox
    slot: Slot
    harness: str
    hardware: str

    @classmethod
    def prepare(
        cls, pack: Pack, profile: str | None, *, sandbox: str = "auto", cache: Path = CACHE
    ) -> Bench:
        """Find the sandbox, make the pack's data and take a slot.

        Raises:
            UnknownName, PackError, DataMissing, SandboxUnavailable: a part cannot be had.
        """
        size = pack.profile(profile)
        grader = pack.grader(size, cache.expanduser())
        slot = make_slots(size.cores, size.gpus, n_slots=1)[0]
        harness = harness_digest(pack, grader.prepare())
        return cls(pack, size, grader, find_sandbox(sandbox), slot, harness, hardware_class(size))

    def trial(
        self,
        files: Mapping[str, bytes],
        seed: int,
        *,
        split: Split = "search",
        fidelity: str = "full",
        smoke: bool = False,
        scratch: Path | None = None,
    ) -> TrialResult:
        """Run and score one trial."""
        request = TrialRequest(files, tree_hash(files), seed, split, fidelity, smoke)
        with tempfile.TemporaryDirectory(prefix="novum-", dir=scratch) as folder:
            return run_trial(
                request,
                pack=self.pack,
                profile=self.profile,
                grader=self.grader,
                sandbox=self.sandbox,
                slot=self.slot,
                scratch=Path(folder),
            )


def candidate_files(pack: Pack, path: Path) -> dict[str, bytes]:
    """The files of a candidate: a start's name, a folder, or one file of an otherwise unchanged
    default start.

    Raises:
        UsageError: there is nothing there, or a file is not one that a candidate may bring.
    """
    if not path.exists() and str(path) in pack.starts:
        return pack.start_files(str(path))
    if path.is_file():
        start = pack.start_files()
        if not pack.is_editable(path.name):
            raise UsageError(f"{path.name} is not a file that candidates of {pack.id} may change.")
        return start | {path.name: path.read_bytes()}
    files = read_tree(path) if path.is_dir() else {}
    if not files:
        raise UsageError(
            f"there is no candidate at {path}: neither a folder with files nor a file."
        )
    return files


def evaluate(
    bench: Bench,
    files: Mapping[str, bytes],
    n_trials: int,
    *,
    split: Split = "search",
    fidelity: str = "full",
    seeds: Sequence[int] = (),
) -> Iterator[tuple[int, TrialResult]]:
    """Measure a candidate several times; yields seed and result. Missing seeds are drawn now."""
    for i in range(n_trials):
        seed = seeds[i] if i < len(seeds) else secrets.randbits(31)
        yield seed, bench.trial(files, seed, split=split, fidelity=fidelity)


def as_json(seed: int, result: TrialResult) -> dict[str, Any]:
    """One trial as a plain object."""
    return {
        "seed": seed,
        "status": str(result.status),
        "metric": result.metric,
        "observed": dict(result.observed),
        "claimed": dict(result.claimed),
        "probes": [
            {"name": p.name, "outcome": str(p.outcome), "summary": p.summary} for p in result.probes
        ],
        "phases": [{"name": p.name, "at_s": round(p.at_s, 3)} for p in result.phases],
        "error": result.error,
        "self_reported": result.self_reported,
    }


def failed_probes(result: TrialResult) -> list[str]:
    """Names of the probes that the artifact failed."""
    return [probe.name for probe in result.probes if probe.outcome is Outcome.FAIL]


def line(pack: Pack, seed: int, result: TrialResult) -> str:
    """One trial for a person."""
    digits = pack.manifest.metric.digits
    value = "–" if result.metric is None else f"{result.metric:.{digits}f}"
    bad = failed_probes(result)
    remark = in_a_line(result.error)
    remark = f"fails {', '.join(bad)}" if bad else remark
    seconds = result.observed.get("trial_s", math.nan)
    return f"seed {seed:>10}  {value:>12}  {seconds:7.1f} s  {result.status}  {remark}".rstrip()


def in_a_line(error: str) -> str:
    """An error by its first line, and by its last one where that is what a traceback ends with."""
    lines = [text for text in error.splitlines() if text.strip()]
    if not lines:
        return ""
    head, _, rest = lines[0].partition("Traceback (most recent call last)")
    return f"{head}{lines[-1].strip()}" if rest else lines[0]


def report(pack: Pack, profile: Profile, split: Split, seed: int, result: TrialResult) -> str:
    """One trial for a person: its line, what was seen beside the metric, what its probes object to
    or note, where its traces lie."""
    told = line(pack, seed, result)
    rest = [text for text in result.error.splitlines() if text.strip() and text not in told]
    beside = beside_the_metric(profile, split, result)
    said = (*rest[-MOST_LINES:], *beside, *remarks(result))
    return "\n".join([told, *(f"  {each}" for each in said)])


def beside_the_metric(profile: Profile, split: Split, result: TrialResult) -> list[str]:
    """One line: what the profile requires, how much text was read and by whose count, GPUs."""
    seen, said = result.observed, []
    for name, required in profile.requirements.items():
        limit = required.limit(split)
        if name in seen:
            said.append(f"{name} {seen[name]:.4f}" + (f" (target {limit:g})" if limit else ""))
    if "steps" in seen:
        said.append(f"{seen['steps']:.0f} steps")
    if "epochs" in seen:
        said.append(f"{seen['epochs']:.2f} epochs")
    elif "epochs_at_most" in seen:
        claimed = result.claimed.get("epochs")
        own = "" if claimed is None else f" ({claimed:.2f} by its own count)"
        said.append(f"at most {seen['epochs_at_most']:.2f} epochs{own}")
    if "gpu_peak_bytes" in seen:
        said.append(f"{seen['gpu_peak_bytes'] / 2**30:.1f} GiB of GPU memory at its peak")
    return [", ".join(said)] if said else []


def remarks(result: TrialResult) -> list[str]:
    """What the probes that do not pass say, each thing once; too many are counted."""
    found: dict[str, None] = {}
    for probe in result.probes:
        if probe.outcome is not Outcome.PASS:
            many = probe.detail.get("all") or [probe.summary]
            found |= {f"{probe.name}: {' '.join(str(said).split())}": None for said in many}
    said = list(found)
    if len(said) > MOST_REMARKS:
        said = [*said[:MOST_REMARKS], f"... and {len(said) - MOST_REMARKS} more"]
    kept = [f"{p.name}/{p.detail['file']}" for p in result.phases if "file" in p.detail]
    return said + [f"in full: {file} in the cache ({CACHE} unless named)" for file in kept if said]


def summary(bench: Bench, results: Sequence[TrialResult], split: Split = "search") -> str:
    """Mean and spread over the trials that finished, and what the profile requires beside it."""
    metric = bench.pack.manifest.metric
    values = [r.metric for r in results if r.metric is not None]
    if not values:
        return f"no trial of {len(results)} finished"
    spread = f", sd {stdev(values):.{metric.digits}f}" if len(values) > 1 else ""
    label = " (self-reported)" if any(r.self_reported for r in results) else ""
    told = [
        f"{metric.name}{label}: mean {fmean(values):.{metric.digits}f} {metric.unit}{spread} over "
        f"{len(values)} of {len(results)} trials; {metric.better} is better",
        *(whether_met(bench.profile, name, split, results) for name in bench.profile.requirements),
        f"harness {bench.harness[:12]}, {bench.hardware}, sandbox {bench.sandbox.name}",
    ]
    return "\n".join(said for said in told if said)


def whether_met(profile: Profile, name: str, split: Split, results: Sequence[TrialResult]) -> str:
    """The mean of an observed value beside what it must reach; empty where nothing is known."""
    required = profile.requirements[name]
    limit = required.limit(split)
    seen = [r.observed[name] for r in results if r.metric is not None and name in r.observed]
    if limit is None or not seen:
        return ""
    mean = fmean(seen)
    is_met = mean <= limit if required.better == "lower" else mean >= limit
    verb = "reaches" if is_met else "MISSES"
    return (
        f"{name}: mean {mean:.4f}, {verb} the target {limit:g}; a claim "
        f"rests on {required.trials} declared trials of the sealed split at p < {required.alpha:g}"
    )


def odd_start(pack: Pack, candidate: Path, profile: str | None) -> str:
    """A remark on a start that is meant for other profiles than this one; else nothing."""
    size, start = pack.profile(profile), str(candidate)
    if candidate.exists() or start not in pack.starts or start in pack.starts_of(size):
        return ""
    meant = [name for name in pack.manifest.profiles if start in pack.starts_of(pack.profile(name))]
    return f"note: {start} is meant for --profile {' or '.join(meant)}, and this is {size.name}."


def is_sound(results: Sequence[TrialResult]) -> bool:
    """Whether every trial finished and failed no probe."""
    return all(r.status is TrialStatus.FINISHED and not failed_probes(r) for r in results)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of a bare node."""
    parser = argparse.ArgumentParser(prog="novum.benchmarks.evaluate", description=__doc__)
    parser.add_argument("candidate", type=Path, help="folder, file, or a start's name")
    parser.add_argument("--pack", default="nanochat")
    parser.add_argument("--problems", type=Path, help="folder of problems in the pack's format")
    parser.add_argument("--corpus", type=Path, help="text in place of the pack's: text:PATH, ...")
    parser.add_argument("--profile")
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--split", choices=("search", "sealed"), default="search")
    parser.add_argument("--fidelity", default="full")
    parser.add_argument("--seed", type=int, action="append", default=[])
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args(arguments)
    try:
        pack = find_pack(said.pack)
        if (other := said.problems or said.corpus) is not None:
            pack = pack.on(other)
        files = candidate_files(pack, said.candidate)
        if remark := odd_start(pack, said.candidate, said.profile):
            print(remark, file=sys.stderr)
        bench = Bench.prepare(pack, said.profile, sandbox=said.sandbox, cache=said.cache)
        results = []
        for seed, result in evaluate(
            bench, files, said.trials, split=said.split, fidelity=said.fidelity, seeds=said.seed
        ):
            results.append(result)
            as_text = (
                json.dumps(as_json(seed, result))
                if said.json
                else report(pack, bench.profile, said.split, seed, result)
            )
            print(as_text, flush=True)
    except NovumError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    if not said.json:
        print(summary(bench, results, said.split))
    return 0 if is_sound(results) else 1


if __name__ == "__main__":
    sys.exit(main())
