"""The command line of a campaign.

    python -m novum.benchmarks.kernels.campaign check OUT     broken kernels, cheaply
    python -m novum.benchmarks.kernels.campaign tune OUT      search over the kernels' constants
    python -m novum.benchmarks.kernels.campaign score OUT     the verified table
    python -m novum.benchmarks.kernels.campaign confirm OUT   the same solutions, on fresh inputs
    python -m novum.benchmarks.kernels.campaign publish OUT --to FOLDER    a page of the results

`check` and `tune` are searches: their times decide nothing. `score` is the evaluation: ceilings,
the compile modes of the references, then hidden inputs, fresh processes and both arms interleaved.
All write what they have after each problem and begin nothing new at the deadline; `score` on the
same OUT goes on where it stopped. Problems are prepared side by side; whatever is timed is alone on
its device.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from novum.benchmarks.kernels.baselines import MODES
from novum.benchmarks.kernels.campaign.check import check
from novum.benchmarks.kernels.campaign.confirm import confirm
from novum.benchmarks.kernels.campaign.fleet import Fleet, Settings
from novum.benchmarks.kernels.campaign.modes import Modes
from novum.benchmarks.kernels.campaign.publish import publish
from novum.benchmarks.kernels.campaign.score import score
from novum.benchmarks.kernels.campaign.tuning import tune_all
from novum.benchmarks.kernels.problem import SHIPPED, Problem, load_problems
from novum.benchmarks.pack import read_tree
from novum.sandboxes.registry import find_sandbox

PACK = Path(__file__).parents[1]
BEST = (PACK / "start" / "triton", PACK / "cuda")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="campaign", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("check", "tune", "score", "confirm", "publish"))
    parser.add_argument("out", help="folder for results")
    parser.add_argument("--gpus", default="0", help="indices with commas; `cpu` for the processor")
    parser.add_argument(
        "--sandbox", default="process", help="the solutions are yours; `auto` isolates"
    )
    parser.add_argument("--problems", default=str(SHIPPED), help="a folder in the format")
    parser.add_argument(
        "--solutions",
        default=",".join(map(str, BEST)),
        help="folders with commas; a later one has the word over an earlier one",
    )
    parser.add_argument("--select", default="*", help="names or globs, with commas between them")
    parser.add_argument("--first", default="", help="problems to begin with, in this order")
    parser.add_argument("--seconds", default=480.0, type=float, help="nothing new after this")
    parser.add_argument("--compile-seconds", default=200.0, type=float, help="for compile modes")
    parser.add_argument("--modes", default="", help="of torch.compile; all for a GPU, else eager")
    parser.add_argument("--parallel", default=0, type=int, help="problems side by side a device")
    parser.add_argument("--compilers", default=0, type=int, help="compiled side by side a device")
    parser.add_argument("--rounds", default=10, type=int)
    parser.add_argument("--processes", default=5, type=int)
    parser.add_argument("--calls", default=15, type=int)
    parser.add_argument("--steps", default=2, type=int, help="rounds of tuning")
    parser.add_argument("--cache", help="folder for compiled code, kept from call to call")
    parser.add_argument("--to", help="folder to publish into")
    return parser.parse_args(words)


def settings_of(words: argparse.Namespace) -> Settings:
    """Settings from the words."""
    on_cpu = words.gpus == "cpu"
    fields = {
        "gpus": () if on_cpu else tuple(words.gpus.split(",")),
        "parallel": words.parallel or (1 if on_cpu else side_by_side(words.gpus.count(",") + 1)),
        "compilers": words.compilers or (1 if on_cpu else compilers(words.gpus.count(",") + 1)),
        "seconds": words.seconds,
        "rounds": words.rounds,
        "processes": words.processes,
        "calls": words.calls,
        "early": not on_cpu or words.modes not in ("", "eager"),
    }
    return Settings.model_validate(fields | ({"cache": words.cache} if words.cache else {}))


def side_by_side(n_gpus: int) -> int:
    """Problems that the cores of this host can prepare at once for each device."""
    return max(2, min(8, len(os.sched_getaffinity(0)) // n_gpus))


def compilers(n_gpus: int) -> int:
    """Things that the cores of this host can compile at once for each device: most of the work is
    Python's, one core each, and some starts processes of its own.
    """
    return max(2, min(12, 3 * len(os.sched_getaffinity(0)) // 4 // n_gpus))


def in_order(problems: Sequence[Problem], first: Sequence[str]) -> list[Problem]:
    """The problems, those named first in front."""
    names = [name for name in first if name]
    rank = {name: i for i, name in enumerate(names)}
    return sorted(problems, key=lambda p: (rank.get(p.name, len(rank)), p.name))


def files_of(folders: str) -> dict[str, bytes]:
    """The solutions of one or more folders; a later one replaces all of a problem's files.

    Raises:
        SystemExit: a folder is not there.
    """
    found: dict[str, bytes] = {}
    for folder in map(Path, folders.split(",")):
        if not folder.is_dir():
            raise SystemExit(f"there is no folder {folder}")
        files = read_tree(folder)
        solved = {owner(name) for name in files}
        found = {k: v for k, v in found.items() if owner(k) not in solved} | files
    return found


def owner(name: str) -> str:
    """The problem whose file this is: `gemm` for `gemm.py`, `gemm.cu` and `gemm/solution.json`."""
    return Path(name).parts[0].partition(".")[0]


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; 1 where something is missing or bad."""
    chosen = parse(words)
    out = Path(chosen.out)
    if chosen.command == "publish":
        if not chosen.to:
            raise SystemExit("publish needs --to FOLDER")
        publish(out, Path(chosen.to))
        return 0
    settings = settings_of(chosen)
    profile = "cuda" if settings.gpus else "cpu"
    select = chosen.select.split(",")
    problems = load_problems(Path(chosen.problems), select, profile)
    problems_in_order = in_order(problems, chosen.first.split(","))
    files = files_of(chosen.solutions)
    usual = MODES if settings.gpus else ("eager",)
    with Fleet(out, settings, find_sandbox(chosen.sandbox).start) as fleet:
        if chosen.command == "check":
            return 0 if check(fleet, problems_in_order, files) else 1
        if chosen.command == "tune":
            tune_all(fleet, problems_in_order, files, chosen.steps)
            return 0
        modes = Modes(out / "modes.json", chosen.modes.split(",") if chosen.modes else usual)
        if chosen.command == "confirm":
            records = confirm(fleet, modes, problems_in_order)
        else:
            records = score(fleet, modes, problems_in_order, files, chosen.compile_seconds)
    return 0 if len(records) == len(problems) and all(r.is_whole for r in records) else 1


if __name__ == "__main__":
    sys.exit(main())
