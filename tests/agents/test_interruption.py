"""A run as a process of its own: killed at any moment or interrupted, it goes on and ends whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from novum.agents.replay.verify import verify
from novum.lab.records import Purpose, TrialStatus
from novum.lab.run import RunFolder

PACK = Path(__file__).parent.parent / "packs" / "climb"
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from novum.agents.research import research
from novum.lab.run import RunFolder
from novum.settings import restore_settings

settings = restore_settings(json.loads(sys.argv[2]))
summary = asyncio.run(research(RunFolder.open(Path(sys.argv[1])), settings))
print(json.dumps({"interrupted": summary.is_interrupted, "confirmed": summary.is_confirmed}))
"""


class Process:
    """A run of the `climb` pack in a process of its own."""

    def __init__(self, tmp_path: Path, experiments: int, name: str = "run") -> None:
        settings: dict[str, Any] = {
            "benchmark": str(PACK),
            "profile": "slow",
            "sandbox": {"kind": "process"},
            "budget": {"experiments": experiments},
            "paths": {"cache": str(tmp_path / "cache"), "scratch": str(tmp_path)},
        }
        self.run = RunFolder.create(
            tmp_path / "runs", name, benchmark="climb", profile="slow", settings=settings
        )
        self.argv = (sys.executable, "-c", PROGRAM, str(self.run.path), json.dumps(settings))

    def start(self) -> subprocess.Popen[str]:
        """Start it, or start it again."""
        return subprocess.Popen(
            self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for_events(self, n: int, process: subprocess.Popen[str]) -> None:
        """Wait until the ledger holds so many events, or the process has ended."""
        with self.run.ledger(read_only=True) as ledger:
            while ledger.anchor().seq < n and process.poll() is None:
                time.sleep(0.01)

    def n_events(self) -> int:
        with self.run.ledger(read_only=True) as ledger:
            return ledger.anchor().seq

    def check_whole(self, experiments: int) -> None:
        """Every row has ended, the chain holds, nothing was counted or run twice."""
        with self.run.ledger(read_only=True) as ledger:
            ledger.verify(self.run.anchor())
            assert not ledger.trials(status=TrialStatus.LAUNCHED)
            trials = ledger.trials()
            assert max(Counter(t.effect for t in trials).values()) == 1
            ended = [t for t in trials if t.status is not TrialStatus.LOST]
            asked_for = Counter(t.effect.partition("#")[0] for t in ended)
            assert max(asked_for.values()) == 1, "an effect was measured twice"
            seeds = Counter((t.tree, t.seed) for t in trials)
            assert max(seeds.values()) == 1
            proposals = [p for p in ledger.proposals() if p.thread >= 0]
            assert len(proposals) == experiments
            ids = (e.payload["proposal"] for e in ledger.events(kinds=["iteration"]))
            # A thread that was planning while another made the last proposal ends without one.
            closed = Counter(id for id in ids if id)
            assert closed == {p.id: 1 for p in proposals}
            verdicts = Counter(v.proposal for v in ledger.verdicts())
            dropped = {e.key.removeprefix("dropped:") for e in ledger.events(kinds=["dropped"])}
            assert all(verdicts[p.id] + (p.id in dropped) == 1 for p in proposals)
            answers = Counter(e.key for e in ledger.events(kinds=["answer"]))
            assert max(answers.values()) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_at_random_moments_resumes_and_nothing_is_lost_or_counted_twice(
    tmp_path: Path,
) -> None:
    rng = Random(7)
    run = Process(tmp_path, experiments=4)
    n_kills = 0
    for _ in range(6):
        process = run.start()
        run.wait_for_events(run.n_events() + rng.randint(2, 24), process)
        if process.poll() is None:
            time.sleep(rng.random() * 0.15)
            process.kill()
            n_kills += process.wait() == -signal.SIGKILL
        process.communicate()
    assert n_kills >= 3
    done = run.start()
    out, err = done.communicate(timeout=250)
    assert done.returncode == 0, err
    assert json.loads(out)["interrupted"] is False
    run.check_whole(experiments=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_control_c_ends_the_process_soon_with_killed_trials_and_the_run_can_be_resumed(
    tmp_path: Path,
) -> None:
    run = Process(tmp_path, experiments=2)
    process = run.start()
    run.wait_for_events(16, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert json.loads(out) == {"interrupted": True, "confirmed": False}
    with run.run.ledger(read_only=True) as ledger:
        assert not ledger.trials(status=TrialStatus.LAUNCHED)
    done = run.start()
    out, err = done.communicate(timeout=250)
    assert done.returncode == 0, err
    assert json.loads(out)["interrupted"] is False


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_in_its_final_test_ends_it_and_is_made_again_by_a_replay(
    tmp_path: Path,
) -> None:
    for name in "abcdefgh":  # where the first idea is none to test, there is another run
        run = Process(tmp_path, experiments=1, name=name)
        process = run.start()
        with run.run.ledger(read_only=True) as ledger:
            while not ledger.trials(purpose=Purpose.CERTIFY) and process.poll() is None:
                time.sleep(0.005)
        process.kill()
        process.communicate()
        with run.run.ledger(read_only=True) as ledger:
            if ledger.trials(purpose=Purpose.CERTIFY, status=TrialStatus.LAUNCHED):
                break
    else:
        pytest.fail("no kill fell into a final test: the test shows nothing")
    out, err = run.start().communicate(timeout=250)
    assert json.loads(out)["interrupted"] is False, err
    run.check_whole(experiments=1)
    found = verify(run.run)
    assert found.is_whole, found.problem
