"""`kill -9` of a real run at any moment loses nothing and counts nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from novum.errors import UnknownName
from novum.lab.records import TrialStatus
from novum.lab.run import RunFolder

PACK = """
id = "quick"
title = "Constants that cost nothing to measure"
metric = { name = "loss", better = "lower" }
editable = ["train.py"]
default_start = "one"

[profiles.cpu]
budget_s = 1
"""
START = """
WIDTH = 4.0
DEPTH = 9.0
RATE = 0.3
DECAY = 0.7


def main():
    return WIDTH, DEPTH, RATE, DECAY


if __name__ == "__main__":
    main()
"""
GRADER = '''
"""Reads the constants and computes a loss with noise; no process is started."""
import ast, math, random, time

from novum.benchmarks.protocol import Graded

BEST = {"WIDTH": 40.0, "DEPTH": 3.0, "RATE": 0.05, "DECAY": 0.1}


class Grader:
    def __init__(self, folder, profile, cache):
        pass

    def prepare(self):
        return "none"

    def trial(self, context):
        time.sleep(0.02)  # so that some kills fall into trials
        body = ast.parse(context.request.files["train.py"]).body
        got = {n.targets[0].id: n.value.value for n in body if isinstance(n, ast.Assign)}
        loss = 1.0 + sum(0.1 * abs(math.log(got[k] / v)) for k, v in BEST.items())
        return Graded(loss + random.Random(context.request.seed).gauss(0.0, 0.01))
'''
N_KILLS = 20
N_IDEAS = 60
MAX_EVENTS = 36
"""Each process is killed after it has recorded 1 to this many events: 20 kills fall all over the
first ideas, and the run cannot end before the last of them."""


def make_pack(folder: Path) -> Path:
    (folder / "start" / "one").mkdir(parents=True)
    (folder / "pack.toml").write_text(PACK)
    (folder / "task.md").write_text("Lower the loss.\n")
    (folder / "grade.py").write_text(GRADER)
    (folder / "start" / "one" / "train.py").write_text(START)
    return folder


def novum(folder: Path, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "novum", *words, "--plain"]
    return subprocess.Popen(
        command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def kill_after(process: subprocess.Popen[str], folder: Path, n_events: int) -> None:
    """Kill a process when its run has so many events, or a few milliseconds later."""
    while process.poll() is None:
        try:
            run = RunFolder.open(folder)
            break
        except UnknownName:
            time.sleep(0.02)
    with run.ledger(read_only=True) as ledger:
        while process.poll() is None and ledger.anchor().seq < n_events:
            time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_killed_twenty_times_ends_whole(tmp_path: Path) -> None:
    make_pack(tmp_path / "pack")
    rng = random.Random(20)
    words = ["run", str(tmp_path / "pack"), "--name", "hard", "--experiments", str(N_IDEAS)]
    folder = tmp_path / "runs" / "hard"
    n_events = 0
    for _ in range(N_KILLS):
        with novum(tmp_path, *words) as process:
            kill_after(process, folder, n_events + rng.randint(1, MAX_EVENTS))
        words = ["resume", "hard"]
        run = RunFolder.open(folder)
        with run.ledger(read_only=True) as ledger:
            ledger.verify()
            n_events = ledger.anchor().seq
    with novum(tmp_path, "resume", "hard") as process:
        said, _ = process.communicate(timeout=1500)
    assert process.returncode in (0, 3, 4), said

    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        trials = ledger.trials()
        proposals = [p for p in ledger.proposals() if p.thread >= 0]
        verdicts = Counter(v.proposal for v in ledger.verdicts())
        dropped = Counter(e.key.partition(":")[2] for e in ledger.events(kinds=["dropped"]))
        counts = ledger.counts()
        lessons = Counter(lesson.proposal for lesson in ledger.lessons())
    by_status = Counter(trial.status for trial in trials)
    assert not by_status[TrialStatus.LAUNCHED], "every trial that was launched ends"
    assert by_status[TrialStatus.LOST] > 0, "no kill fell into a trial: the test shows nothing"
    assert set(by_status) <= {TrialStatus.FINISHED, TrialStatus.LOST}
    assert len(trials) == counts["trials"]
    assert len({t.effect for t in trials}) == len(trials)
    draws = Counter((t.tree, t.seed_index) for t in trials)
    assert max(draws.values()) == 1, "no seed of a candidate is drawn twice"
    asked = Counter(t.effect.partition("#")[0] for t in trials if t.status == "finished")
    assert max(asked.values()) == 1, "what was measured is not measured again"
    assert len(proposals) <= N_IDEAS
    assert len(proposals) == N_IDEAS or "nothing is left to try" in said, said
    ended = verdicts + dropped
    assert all(ended[p.id] == 1 for p in proposals), "each idea is judged once"
    assert all(lessons[p.id] == 1 for p in proposals), "each idea teaches one lesson"
    archive = run.archive(read_only=True)
    for trial in trials:
        assert "train.py" in archive.files(trial.tree)
