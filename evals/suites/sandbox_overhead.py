"""What isolation costs: start-up of each sandbox, and a whole trial, over a bare subprocess.

Start-up is an empty Python program from the call to its collected exit. The trial is the start of
the pack that `novum packs new` writes: run stage behind the gate, score stage in a fresh process,
grading and teardown; its bare twin is the same file run by a plain subprocess with its data in
files and nobody to grade it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from novum.benchmarks.harness import run_trial, tree_hash
from novum.benchmarks.pack import Pack, load_pack
from novum.benchmarks.protocol import TrialRequest
from novum.benchmarks.template import write_pack
from novum.errors import SandboxUnavailable
from novum.evals.suites.options import parser_of
from novum.lab.records import TrialStatus
from novum.sandboxes import Confinement, Limits, Sandbox, find_sandbox
from novum.sandboxes.registry import PROVIDERS
from novum.sandboxes.slots import Slot

GOALS_MS = {"bubblewrap": 50.0, "docker": 800.0}  # start-up over a bare subprocess
N_STARTS, N_TRIALS = 15, 3
_EMPTY = ("-I", "-S", "-c", "pass")
# Stands in for the harness where there is none: the same data, from files.
_STUB = """
import types
from pathlib import Path
import numpy as np

def start():
    here = Path(__file__).parent
    data = {path.stem: np.load(path) for path in (here / "data").glob("*.npy")}
    return types.SimpleNamespace(data=data, output=here, seed=0, info={}, budget_s=1.0)

def claim(name, value):
    pass
"""


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds over repetitions: medians, and the least, which a busy machine hardly moves."""

    sandbox: str
    what: str
    n: int
    bare_ms: float
    total_ms: float
    least_bare_ms: float
    least_total_ms: float
    goal_ms: float | None = None

    @property
    def over_ms(self) -> float:
        """What the sandbox adds, by the medians."""
        return self.total_ms - self.bare_ms

    @property
    def least_over_ms(self) -> float:
        """What the sandbox adds where nothing else runs, by the least of both."""
        return self.least_total_ms - self.least_bare_ms

    @property
    def is_met(self) -> bool:
        """Whether the goal, if there is one, is met on this machine when it is quiet."""
        return self.goal_ms is None or self.least_over_ms < self.goal_ms


def measure(
    names: Sequence[str] = tuple(PROVIDERS), n_starts: int = N_STARTS, n_trials: int = N_TRIALS
) -> tuple[list[Row], dict[str, str]]:
    """Rows for the sandboxes that can run here, and for the others the reason."""
    rows: list[Row] = []
    absent: dict[str, str] = {}
    for name in names:
        try:
            sandbox = find_sandbox(name)
        except SandboxUnavailable as error:
            absent[name] = str(error)
            continue
        rows.append(_start_up(sandbox, n_starts))
        rows.append(_whole_trial(sandbox, n_trials))
    return rows, absent


def run(arguments: Sequence[str]) -> int:
    """Print the rows, `--json` as objects, for the sandboxes named or all; 1: a goal is missed."""
    parser = parser_of("sandbox_overhead", __doc__)
    parser.add_argument("sandboxes", nargs="*", metavar="SANDBOX", help="default: all")
    parser.add_argument("--json", action="store_true", help="one object a row")
    asked = parser.parse_args(arguments)
    rows, absent = measure(asked.sandboxes or tuple(PROVIDERS))
    if asked.json:
        for row in rows:
            print(json.dumps(asdict(row) | {"over_ms": row.over_ms, "met": row.is_met}))
    else:
        heads = ("bare ms", "total ms", "over ms", "least over")
        print(f"{'sandbox':<12} {'what':<12} " + " ".join(f"{h:>10}" for h in heads) + "  goal")
        for row in rows:
            goal = "" if row.goal_ms is None else f"under {row.goal_ms:.0f}"
            mark = "" if row.is_met else " MISSED"
            print(
                f"{row.sandbox:<12} {row.what:<12} {row.bare_ms:>10.1f} {row.total_ms:>10.1f} "
                f"{row.over_ms:>10.1f} {row.least_over_ms:>10.1f}  {goal}{mark}"
            )
    for name, reason in absent.items():
        print(f"{name}: {reason.splitlines()[0]}", file=sys.stderr)
    return 0 if all(row.is_met for row in rows) else 1


def _start_up(sandbox: Sandbox, n: int) -> Row:
    confinement = Confinement(("python", *_EMPTY), Path("/tmp"), limits=Limits(wall_s=60))

    def bare() -> None:
        subprocess.run([sys.executable, *_EMPTY], check=True, capture_output=True)

    def confined() -> None:
        ended = sandbox.start(confinement).wait()
        if ended is None or ended.code != 0:
            raise RuntimeError(f"{sandbox.name} did not run an empty program: {ended}")

    goal = GOALS_MS.get(sandbox.name)
    return Row(sandbox.name, "start-up", n, *_interleaved(bare, confined, n), goal_ms=goal)


def _whole_trial(sandbox: Sandbox, n: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="novum-overhead-") as scratch:
        pack = load_pack(write_pack("overhead", Path(scratch)))
        files = pack.start_files()
        request = TrialRequest(files, tree_hash(files), seed=1)
        bare_folder = _bare_twin(pack, request, Path(scratch))
        profile = pack.profile()
        grader = pack.grader(profile, Path(scratch))

        def bare() -> None:
            argv = [sys.executable, "train.py"]
            subprocess.run(argv, check=True, capture_output=True, cwd=bare_folder)

        def confined() -> None:
            result = run_trial(
                request,
                pack=pack,
                profile=profile,
                grader=grader,
                sandbox=sandbox,
                slot=Slot(),
                scratch=Path(scratch),
            )
            if result.status is not TrialStatus.FINISHED:
                raise RuntimeError(f"the trial under {sandbox.name} failed: {result.error}")

        times = _interleaved(bare, confined, n)
    return Row(sandbox.name, "whole trial", n, *times)


def _bare_twin(pack: Pack, request: TrialRequest, scratch: Path) -> Path:
    folder = scratch / "bare"
    (folder / "data").mkdir(parents=True)
    grader = pack.grader(pack.profile(), scratch)
    grader.prepare()
    for name, array in grader.arrays(request).items():  # type: ignore[attr-defined]
        np.save(folder / "data" / f"{name}.npy", array)
    for name, content in request.files.items():
        (folder / name).write_bytes(content)
    (folder / "harness.py").write_text(_STUB)
    return folder


def _interleaved(
    bare: Callable[[], None], confined: Callable[[], None], n: int
) -> tuple[float, float, float, float]:
    """Medians and least milliseconds of both, in turns: a busy machine is busy for both."""
    times: tuple[list[float], list[float]] = ([], [])
    for work in (bare, confined):
        work()  # the first call pays for caches and images
    for _ in range(n):
        for work, kept in zip((bare, confined), times, strict=True):
            began_s = time.perf_counter()
            work()
            kept.append((time.perf_counter() - began_s) * 1e3)
    medians = statistics.median(times[0]), statistics.median(times[1])
    return *medians, min(times[0]), min(times[1])
