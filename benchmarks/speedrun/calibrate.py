"""Write a measured target into the pack, with what it rests on.

    M=novum.benchmarks.speedrun
    python -m $M.measure target --profile gpu1 --seconds 300 --json > target.jsonl
    python -m $M.calibrate target.jsonl --profile gpu1 --pack benchmarks/speedrun

Sets the limits of both splits in pack.toml and `STEPS` of the start, and keeps the trials beside
them in `targets/PROFILE.json`. Nothing is written unless every line is a finished trial of the same
number of steps: which trials count is not chosen afterwards.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from novum.benchmarks.moves import set_constant
from novum.benchmarks.pack import Pack, find_pack
from novum.benchmarks.speedrun.grade import LOSS
from novum.benchmarks.speedrun.measure import LOSSES, limit_of
from novum.errors import NovumError, UsageError


def calibrate(pack: Pack, profile: str, lines: Sequence[str], about: str) -> dict[str, float]:
    """Write the target of a profile; returns the limits by split.

    Args:
        lines: one trial a line, as `measure target --json` prints them.
        about: where it was measured: machine, date, versions.

    Raises:
        UsageError: a trial failed, lacks a loss, or took another number of steps.
    """
    trials = _trials(lines)
    steps = {int(trial["observed"]["steps"]) for trial in trials}
    if len(steps) != 1:
        raise UsageError(f"the trials took different numbers of steps: {sorted(steps)}.")
    limits = {
        split: limit_of([float(trial["observed"][name]) for trial in trials])
        for split, name in LOSSES.items()
    }
    start = pack.starts_of(pack.profile(profile))[0]
    program = pack.folder / "start" / start / "train.py"
    manifest = pack.folder / "pack.toml"
    new_manifest = with_limits(manifest.read_text(), profile, limits)
    new_program = set_constant(program.read_text(), "STEPS", steps.pop())
    kept = {"profile": profile, "start": start, "limits": limits, "about": about, "trials": trials}
    place = pack.folder / "targets" / f"{profile}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(kept, indent=1) + "\n")
    program.write_text(new_program)
    manifest.write_text(new_manifest)
    return limits


def with_limits(text: str, profile: str, limits: Mapping[str, float]) -> str:
    """A pack.toml with other limits on a profile's loss, everything else to the letter.

    Raises:
        UsageError: the profile asks for no loss.
    """
    head = f"[profiles.{profile}.requirements.{LOSS}]\n"
    before, found, after = text.partition(head)
    if not found:
        raise UsageError(f"pack.toml has no {head.strip()}.")
    end = re.search(r"^\[", after, re.MULTILINE)
    body, rest = (after[: end.start()], after[end.start() :]) if end else (after, "")
    kept = [
        line
        for line in body.splitlines(keepends=True)
        if not re.match(rf"({'|'.join(limits)})\s*=", line)
    ]
    new = [f"{split} = {limit:.3f}\n" for split, limit in limits.items()]
    return before + head + "".join(new + kept) + rest


def _trials(lines: Sequence[str]) -> list[dict[str, Any]]:
    trials = [json.loads(line) for line in lines if line.strip()]
    if not trials:
        raise UsageError("there is no trial to take a target from.")
    for trial in trials:
        missing = [n for n in (*LOSSES.values(), "steps") if n not in trial.get("observed", {})]
        if trial.get("status") != "finished" or missing:
            raise UsageError(
                f"trial {trial.get('seed', '?')} is {trial.get('status')} and lacks "
                f"{', '.join(missing) or 'nothing'}: nothing was written. Measure the target again."
            )
    return trials


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="novum.benchmarks.speedrun.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("trials", type=Path, help="what `measure target --json` printed")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--pack", default="speedrun", help="folder of the pack to write to")
    parser.add_argument("--about", default="", help="machine, date and versions, in words")
    said = parser.parse_args(arguments)
    try:
        lines = said.trials.read_text().splitlines()
        limits = calibrate(find_pack(said.pack), said.profile, lines, said.about)
    except (NovumError, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, NovumError) else 1
    print(f"{said.profile}: " + ", ".join(f"{k} = {v:.3f}" for k, v in limits.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
