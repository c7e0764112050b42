"""Measure again, on GPUs, what benchmarks/*/results say of language models, in a given time.

    python3 scripts/gpu_results.py FOLDER --seconds 1700        with Novum installed or unpacked

Two things, side by side: the claim of the speedrun, whose steps are chosen on the search split and
which then goes through a run, and what each technique of nanochat's champion is worth. The claim
has the first GPU; the ablation has the others, and all of them once the claim is through. What is
known is in FOLDER at once. `--part` measures one of the two. `--small` does the same with the
profiles for CPUs, as a rehearsal.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from novum.benchmarks.moves import set_constant
from novum.benchmarks.pack import find_pack
from novum.sandboxes.executor import make_slots
from novum.sandboxes.slots import Slot

MARGIN = 0.15
"""Nats by which a pilot's loss must lie below the target: several times its spread over seeds."""
KEPT_S = 30
"""Seconds at the end in which nothing is measured any more."""
PARTS = ("claim", "ablation")
NOVUM = (sys.executable, "-m", "novum")


class Try(NamedTuple):
    """A pilot: steps to declare, and rows of the n-gram tables; `None` leaves a constant alone."""

    steps: int
    rows: int | None


@dataclass(frozen=True)
class Size:
    """What is measured: on GPUs, or small."""

    speedrun: str
    start: str
    candidate: str
    sure: Try
    """Taken where no pilot is good enough: known to reach the loss."""
    tries: tuple[Try, ...]
    nanochat: str
    nanochat_start: str
    moves: tuple[str, ...]


LARGE = Size(
    "gpu1",
    "naive_gpu",
    "start/fast_gpu",
    Try(150, None),
    (Try(72, 32768), Try(40, 32768)),
    "gpu60",
    "modern_gpu",
    ("ngram_tables", "match_copy", "key_shift", "corpus_memory", "normuon_gpu", "row_moments")
    + ("lazy_tables", "half_windows", "quarter_batch"),
)
SMALL = Size(
    "cpu",
    "naive",
    "results/cpu/champion",
    Try(20, None),
    (Try(12, None),),
    "cpu",
    "vanilla",
    ("bigram_prior", "small_batch"),
)


def start(places: Sequence[Slot], log: Path, *words: str) -> subprocess.Popen[bytes]:
    """A program that sees the cores and GPUs of these places only, with its output in a file."""
    cores = ",".join(str(core) for place in places for core in place.cores)
    gpus = ",".join(gpu for place in places for gpu in place.gpus)
    seen = {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}
    with log.open("ab") as file:
        command = ["taskset", "-c", cores, *words]
        return subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | seen)


class Results:
    """What is measured into one folder until a moment."""

    def __init__(self, folder: Path, ends_s: float, size: Size) -> None:
        self.folder, self.ends_s, self.size = folder, ends_s, size
        self.pack = find_pack("speedrun")
        self.profile = self.pack.profile(size.speedrun)
        self.places = make_slots(self.profile.cores, self.profile.gpus)

    def left_s(self) -> int:
        return int(self.ends_s - time.monotonic())

    def say(self, text: str) -> None:
        print(f"{self.left_s():5d} s left  {text}", flush=True)

    def candidate(self, one: Try) -> Path:
        """A folder with the candidate of these constants."""
        text = (self.pack.folder / self.size.candidate / "train.py").read_text()
        text = set_constant(text, "STEPS", one.steps)
        if one.rows is not None:
            text = set_constant(text, "NGRAM_ROWS", one.rows)
        folder = self.folder / f"steps-{one.steps}"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(text)
        return folder

    def pilot(self) -> Try:
        """The fewest steps whose loss on the search split lies well below the target."""
        target = self.profile.requirements["loss"].search or 0.0
        found = {}
        for one in self.size.tries:
            log = self.folder / f"steps-{one.steps}.jsonl"
            module = ("-m", "novum.benchmarks.evaluate", str(self.candidate(one)))
            where = ("--pack", "speedrun", "--profile", self.size.speedrun, "--sandbox", "process")
            cache = ("--cache", os.environ.get("NOVUM_PATHS__CACHE", "~/.cache/novum"))
            words = (sys.executable, *module, *where, *cache, "--json")
            start(self.places[:1], log, *words).wait()
            row = last_row(log)
            loss = row.get("observed", {}).get("loss")
            self.say(f"pilot {one}: {row.get('status')}, {row.get('metric')} s, loss {loss}")
            if loss is not None and loss <= target - MARGIN:
                found[one] = row["metric"]
        return min(found, key=lambda one: found[one]) if found else self.size.sure

    def claim(self) -> None:
        """The speedrun's candidate through a run, and the bundle of its verdict."""
        one = self.pilot()
        name, runs = f"speedrun-{self.size.speedrun}", str(self.folder / "runs")
        settings = ("--profile", self.size.speedrun, "--start", self.size.start, "--name", name)
        alone = ("--brain", "external", "--experiments", "1", "--threads", "1", "--slots", "1")
        rest = ("--noise", "needed", "--sandbox", "process", "--runs", runs, "--plain")
        rest += ("--wall", f"{self.left_s()}s")
        log = self.folder / "claim.log"
        run = start(self.places[:1], log, *NOVUM, "run", "speedrun", *settings, *alone, *rest)
        why = f"{one.steps} declared steps of the fast recipe reach the loss"
        handed = ("submit", name, "--runs", runs, "--folder", str(self.candidate(one)), "--claim")
        while run.poll() is None:  # until the run has begun there is nothing to hand it in to
            words = (*NOVUM, *handed, "--hypothesis", why)
            if not start(self.places[:1], self.folder / "submit.log", *words).wait():
                break
            time.sleep(1)
        self.say(f"claim handed in: {one}")
        run.wait()
        bundle = str(self.folder / f"{name}.tar")
        start(self.places[:1], log, *NOVUM, "evidence", name, "--runs", runs, "-o", bundle).wait()
        self.say(f"claim: exit {run.returncode}")

    def ablation(self, places: Sequence[Slot]) -> subprocess.Popen[bytes]:
        """Rounds of the ablation; a second call goes on with the first one's file."""
        where = ("--profile", self.size.nanochat, "--start", self.size.nanochat_start)
        how = ("--trials", "3", "--sandbox", "process", "--wall", f"{self.left_s()}s")
        file = ("-o", str(self.folder / "ablation.jsonl"))
        log = self.folder / "ablation.log"
        return start(places, log, *NOVUM, "ablate", *self.size.moves, *where, *how, *file)

    def measure(self, parts: Sequence[str]) -> None:
        """The parts, side by side as far as there are places for it."""
        others = self.places[1:]
        early = self.ablation(others) if others and len(parts) > 1 else None
        if "claim" in parts:
            self.claim()
        if early is not None:
            early.send_signal(signal.SIGINT)
            early.wait()
        if "ablation" in parts and self.left_s() > 0:
            self.say("the ablation has all places")
            self.ablation(self.places).wait()
        self.say("over")


def last_row(path: Path) -> dict[str, Any]:
    """The last line of a file that is an object; nothing where none is."""
    for line in reversed(path.read_text().splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return {}


def main() -> int:
    """The command."""
    as_it_is = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_it_is)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, required=True, help="how long it may take")
    parser.add_argument("--part", choices=PARTS, help="measure nothing else (both)")
    parser.add_argument("--small", action="store_true", help="on CPUs, to see that it works")
    said = parser.parse_args()
    ends_s = time.monotonic() + said.seconds - KEPT_S
    # Begun in the background, it would ignore interrupts, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parts = (said.part,) if said.part else PARTS
    folder = said.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("NOVUM_COMPILE_CACHE", str(folder / "kernels"))
    Results(folder, ends_s, SMALL if said.small else LARGE).measure(parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
