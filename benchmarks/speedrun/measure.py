"""Measure what a profile's target is, and whether a candidate reaches it: trials without a run.

    python -m novum.benchmarks.speedrun.measure target --profile gpu1 --seconds 300
    python -m novum.benchmarks.speedrun.measure claim FOLDER --profile gpu1 --trials 5

`target` trains a start, for a given time where one is asked for, and prints its loss on both
splits. `claim` runs the declared trials of a candidate and tests their losses. Each line comes
when its trial ends. It works on a bare node: Python, numpy, pydantic, psutil and torch.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

from novum.benchmarks.evaluate import CACHE, Bench, as_json, candidate_files, failed_probes
from novum.benchmarks.harness import hardware_class, harness_digest
from novum.benchmarks.moves import set_constant
from novum.benchmarks.pack import Pack, Profile, find_pack
from novum.benchmarks.protocol import Graded, Grader, RunOutcome, TrialContext, TrialResult
from novum.benchmarks.speedrun.grade import LOSS
from novum.benchmarks.speedrun.grade import Grader as SpeedrunGrader
from novum.errors import NovumError, UsageError
from novum.evals.significance import beats_target
from novum.evals.significance.distributions import t_isf
from novum.lab.records import Split, TrialStatus
from novum.sandboxes.executor import make_slots
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

ALPHA = 0.01
PROBE_STEPS = 30
SETTLING = 8  # steps before the pace of a run is steady
LOSSES = {"search": LOSS, "sealed": "loss_sealed"}
"""What each split's loss is called among the observations of a calibrating trial."""


class Calibrating(SpeedrunGrader):
    """Grades both splits after one training, and needs no target."""

    outcome: RunOutcome | None = None
    is_timing: bool = False
    """Whether only the time of the next trial is wanted: then nothing is graded."""

    def _require_targets(self) -> None:
        pass

    def trial(self, context: TrialContext) -> Graded:
        """One training; the loss of the sealed split stands beside the other."""
        self.prepare()
        self.outcome, spelling = self.train(context)
        if self.is_timing:
            return Graded(self.outcome.used_s)
        with self.session(context, self.outcome.artifact) as model:
            said = (context, model, self.outcome, spelling)
            graded, _ = self.read_split(*said, "search")
            sealed, _ = self.read_split(*said, "sealed")
        observed = {**graded.observed, LOSSES["sealed"]: sealed.observed[LOSS]}
        return replace(graded, observed=observed)


def open_bench(said: argparse.Namespace, *, is_calibrating: bool) -> Bench:
    """The pack, ready to measure on the asked-for cores and GPUs."""
    pack = find_pack(said.pack)
    profile = pack.profile(said.profile)
    if said.gpus is not None:
        profile = profile.model_copy(update={"gpus": len(said.gpus)})
    if said.limit is not None:
        profile = with_limit(profile, said.limit)
    cache = said.cache.expanduser()
    make = Calibrating if is_calibrating else SpeedrunGrader
    grader = make(pack.folder, profile, cache)
    if said.gpus is not None:
        cores = make_slots(profile.cores, n_slots=1)[0].cores
        slot = Slot(0, cores, tuple(said.gpus))
    else:
        slot = make_slots(profile.cores, profile.gpus, n_slots=1)[0]
    harness = harness_digest(pack, grader.prepare())
    sandbox = find_sandbox(said.sandbox)
    shown = cast(Grader, grader)
    return Bench(pack, profile, shown, sandbox, slot, harness, hardware_class(profile))


def with_limit(profile: Profile, limit: float) -> Profile:
    """A profile with another target, for a target that was measured a minute ago."""
    required = profile.requirements[LOSS].model_copy(update={"search": limit, "sealed": limit})
    return profile.model_copy(update={"requirements": {LOSS: required}})


def with_steps(files: Mapping[str, bytes], steps: int) -> dict[str, bytes]:
    """A candidate that declares another number of steps."""
    text = set_constant(files["train.py"].decode(), "STEPS", steps)
    return {**files, "train.py": text.encode()}


def steps_for(bench: Bench, files: Mapping[str, bytes], seconds: float) -> int:
    """How many steps of a candidate fit into a time, from one short trial.

    Raises:
        UsageError: the short trial failed.
    """
    grader = cast(Calibrating, bench.grader)
    grader.is_timing = True
    result = bench.trial(with_steps(files, PROBE_STEPS), secrets.randbits(31))
    grader.is_timing = False
    require_finished(result)
    assert grader.outcome is not None and grader.outcome.consumed is not None
    at = grader.outcome.consumed.at_s
    pace_s = (at[-1] - at[SETTLING]) / (len(at) - 1 - SETTLING)
    if bench.profile.clock == "cpu":
        pace_s *= grader.outcome.used_s / grader.outcome.wall_s
    fixed_s = max(0.0, grader.outcome.used_s - pace_s * len(at))
    steps = max(1, int((seconds - fixed_s) / pace_s))
    found = f"{1000 * pace_s:.1f} ms a step and {fixed_s:.1f} s besides"
    print(f"{found}: {steps} steps in {seconds:g} s", file=sys.stderr, flush=True)
    return steps


def limit_of(losses: Sequence[float]) -> float:
    """The target that follows from a start's losses, rounded up.

    It lies as far above their mean as the test asks for, so that the start itself reaches it; one
    trial tells no spread and gives its loss.
    """
    error = stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else 0.0
    margin = t_isf(ALPHA, len(losses) - 1) * error if error else 0.0
    return math.ceil(1000 * (fmean(losses) + margin)) / 1000


def measure_target(bench: Bench, said: argparse.Namespace) -> bool:
    """Print the losses of a start on both splits, and the limits that follow from them."""
    start = said.candidate or bench.pack.starts_of(bench.profile)[0]
    files: Mapping[str, bytes] = candidate_files(bench.pack, Path(start))
    if said.seconds:
        files = with_steps(files, steps_for(bench, files, said.seconds))
    results = []
    for i in range(said.trials):
        result = bench.trial(files, secrets.randbits(31))
        results.append(result)
        show(bench.pack, i, result, said)
    done = [r for r in results if r.status is TrialStatus.FINISHED]
    if said.json:
        return len(done) == len(results)
    for split, name in LOSSES.items():
        losses = [r.observed[name] for r in done]
        if losses:
            sd = stdev(losses) if len(losses) > 1 else math.nan
            limit = limit_of(losses)
            say(
                f"{split} = {limit:.3f}    # mean {fmean(losses):.4f}, sd {sd:.4f}, "
                f"{len(losses)} trials"
            )
    if done:
        text = files["train.py"].decode()
        declared = re.search(r"^STEPS = (\d+)", text, re.MULTILINE)
        seconds = fmean(cast(float, r.metric) for r in done)
        say(f"start {start}, STEPS = {declared[1] if declared else '?'}, {seconds:.2f} s, "
            f"{bench.hardware}, data and grader {bench.harness[:12]}")  # fmt: skip
    return len(done) == len(results)


def measure_claim(bench: Bench, said: argparse.Namespace) -> bool:
    """Run the declared trials of a candidate and test their losses against the target."""
    files: Mapping[str, bytes] = candidate_files(bench.pack, Path(said.candidate or "."))
    if said.steps:
        files = with_steps(files, said.steps)
    results = []
    for i in range(said.trials):
        result = bench.trial(files, secrets.randbits(31), split=cast(Split, said.split))
        results.append(result)
        show(bench.pack, i, result, said)
    limit = cast(SpeedrunGrader, bench.grader).limit(said.split)
    losses = [r.observed.get(LOSS) if r.metric is not None else None for r in results]
    times = [r.metric for r in results if r.metric is not None]
    if limit is None or not times:
        say("no target, or no trial that finished")
        return False
    alpha = bench.profile.requirements[LOSS].alpha
    test = beats_target(losses, limit, n_declared=said.trials, better="lower", alpha=alpha)
    spread = f", sd {stdev(times):.3f}" if len(times) > 1 else ""
    say(f"time: mean {fmean(times):.3f} s{spread} over {len(times)} of {len(results)} trials")
    say(
        f"loss: mean {test.mean:.4f}, {abs(test.margin):.4f} "
        f"{'below' if test.margin >= 0 else 'above'} the {said.split} target {limit:g}; "
        f"{test.reason}: {'valid' if test.passes else 'NOT valid'}"
    )
    sound = all(not failed_probes(r) for r in results)
    return test.passes and sound


def show(pack: Pack, index: int, result: TrialResult, said: argparse.Namespace) -> None:
    """One trial, as soon as it has ended."""
    if said.json:
        print(json.dumps(as_json(index, result)), flush=True)
        return
    seen: dict[str, Any] = {k: f"{v:.4g}" for k, v in sorted(result.observed.items())}
    if result.status is not TrialStatus.FINISHED:
        say(f"trial {index}: {result.status}: {result.error[-1500:]}")
        return
    loss = result.observed[LOSS]
    bad = "".join(f" FAILS {name}" for name in failed_probes(result))
    say(f"trial {index}: {result.metric:.3f} s, loss {loss:.4f}{bad}  {seen}")


def require_finished(result: TrialResult) -> None:
    """Raise unless a trial finished."""
    if result.status is not TrialStatus.FINISHED:
        raise UsageError(f"{result.status}: {result.error}\n{result.log[-3000:]}")


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="novum.benchmarks.speedrun.measure", description=__doc__)
    parser.add_argument("what", choices=("target", "claim"))
    parser.add_argument("candidate", nargs="?", help="folder, file, or a start's name")
    parser.add_argument("--pack", default="speedrun")
    parser.add_argument("--profile")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.0, help="time that the start trains")
    parser.add_argument("--steps", type=int, default=0, help="declare this many steps instead")
    parser.add_argument("--split", choices=("search", "sealed"), default="search")
    parser.add_argument("--gpus", type=lambda text: text.split(","), help="indices, such as 0,1")
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--limit", type=float, help="target loss instead of the profile's own")
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args(arguments)
    try:
        bench = open_bench(said, is_calibrating=said.what == "target")
        measure = measure_target if said.what == "target" else measure_claim
        return 0 if measure(bench, said) else 1
    except NovumError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
