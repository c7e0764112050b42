"""Streams and side-by-side workers: steps are declared, batches counted, a lost worker ends all."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from novum.benchmarks.harness import run_trial, tree_hash
from novum.benchmarks.harness.seeds import told_seed
from novum.benchmarks.harness.stream import Refused, Stream, draw_spelling
from novum.benchmarks.pack import Profile, load_pack
from novum.benchmarks.protocol import (
    Array,
    Graded,
    RunOutcome,
    RunPlan,
    StreamPlan,
    TrialContext,
    TrialRequest,
    TrialResult,
)
from novum.errors import SandboxUnavailable
from novum.lab.records import TrialStatus
from novum.sandboxes import Sandbox, find_sandbox
from novum.sandboxes.slots import Slot

PACK = load_pack(Path(__file__).parent / "packs" / "toy")
TOKENS = np.arange(1000, dtype=np.uint16)


class Counting:
    """A stream whose tokens are their own places."""

    def __len__(self) -> int:
        return len(TOKENS)

    def read(self, first: int, n_tokens: int) -> Array:
        return TOKENS[np.arange(first, first + n_tokens) % len(TOKENS)]


class Taking:
    """A grader that runs the candidate on a stream and keeps what it took."""

    def __init__(self, workers: int = 1, smoke_steps: int = 0, spelling: Array | None = None):
        self.stream = StreamPlan(Counting(), 100, spelling, workers, 1000, smoke_steps)
        self.workers = workers
        self.outcome: RunOutcome | None = None

    def prepare(self) -> str:
        return "counting"

    def trial(self, context: TrialContext) -> Graded:
        profile = PACK.profile()
        plan = RunPlan(
            ("python", "train.py"), {}, {}, "wall", 8.0, 20.0, profile.limits(40.0),
            stream=self.stream, n_workers=self.workers,
        )  # fmt: skip
        self.outcome = context.run_stage(plan)
        assert self.outcome.consumed is not None
        said = (self.outcome.artifact / "said").read_text()
        return Graded(float(self.outcome.consumed.steps), {"said": float(said)})


@pytest.fixture(params=["process", "bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    try:
        return find_sandbox(request.param)
    except SandboxUnavailable as error:
        pytest.skip(f"{request.param} cannot run here: {error}")


def trial(grader: Taking, sandbox: Sandbox, scratch: Path, code: str) -> TrialResult:
    files: Mapping[str, bytes] = {
        "train.py": ("import os, harness\n" + textwrap.dedent(code)).encode()
    }
    profile: Profile = PACK.profile()
    return run_trial(
        TrialRequest(files, tree_hash(files), 5), pack=PACK, profile=profile, grader=grader,
        sandbox=sandbox, slot=Slot(), scratch=scratch,
    )  # fmt: skip


def test_batches_come_in_order_and_are_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    grader = Taking()
    code = """
        assert "seed" not in harness.info()
        steps = harness.declare(3)
        run = harness.start()
        batches = [run.batch(10) for _ in range(steps)]
        assert run.seed == SEED and not run.data
        assert [b[0] for b in batches] == [100, 110, 120] and len(batches[0]) == 11
        (run.output / "said").write_text(str(int(batches[-1][-1])))
    """
    result = trial(grader, sandbox, tmp_path, code.replace("SEED", str(told_seed(5))))
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    assert (result.metric, result.observed["said"]) == (3, 130)
    assert grader.outcome is not None and grader.outcome.consumed is not None
    taken = grader.outcome.consumed
    assert (taken.declared, taken.tokens, taken.available, len(taken.at_s)) == (3, 30, 1000, 3)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("harness.start()", "declare"),
        ("harness.declare(2); run = harness.start(); [run.batch(4) for _ in range(3)]", "all have"),
        ("harness.declare(2); harness.start(); harness.declare(3)", "before harness.start"),
        ("harness.declare(2); harness.declare(3)", "declared already"),
        ("harness.declare(0)", "between 1 and"),
        (
            "harness.declare(2); harness._ask({'op': 'batch', 'rank': 0, 'rows': 1, 'context': 4})",
            "no batches",
        ),
    ],
)
def test_what_the_rules_of_a_stream_forbid_is_refused(
    code: str, reason: str, tmp_path: Path
) -> None:
    result = trial(Taking(), find_sandbox("process"), tmp_path, code)
    assert result.status is TrialStatus.CRASHED and reason in result.error


def test_a_smoke_test_grants_fewer_steps() -> None:
    stream = Stream(StreamPlan(Counting(), max_steps=1000, smoke_steps=4))
    assert stream.declare(900) == 4 and stream.declare(900) == 4


@pytest.mark.parametrize("odd", [True, 1.5, "3", None, -1, 1 << 40])
def test_odd_requests_to_a_stream_are_refused(odd: Any) -> None:
    stream = Stream(StreamPlan(Counting(), max_steps=10))
    with pytest.raises(Refused):
        stream.declare(odd)
    stream.declare(2)
    stream.start()
    with pytest.raises(Refused):
        stream.take(0, 1, odd)
    with pytest.raises(Refused):
        stream.take(0, odd, 4)
    with pytest.raises(Refused):
        stream.take(odd, 1, 4)
    assert stream.consumed().steps == 0


def test_each_rank_gets_its_own_piece_of_a_step() -> None:
    stream = Stream(StreamPlan(Counting(), n_ranks=2, max_steps=10))
    stream.declare(2)
    stream.start()
    first = [stream.take(rank, 1, 5)[0, 0] for rank in (1, 1, 0)]
    assert first == [5, 15, 0] and stream.consumed().steps == 1
    with pytest.raises(Refused, match="another wants"):
        stream.take(0, 1, 6)


def test_rows_are_windows_at_places_that_the_harness_draws() -> None:
    def rows(first: int, rank: int) -> Array:
        stream = Stream(StreamPlan(Counting(), first, n_ranks=2, max_steps=10))
        stream.declare(1)
        stream.start()
        return stream.take(rank, 6, 9)

    drawn = rows(7, 0)
    assert drawn.shape == (6, 10)
    assert ((np.diff(drawn.astype(int)) % len(TOKENS)) == 1).all() and len(set(drawn[:, 0])) > 3
    assert (drawn == rows(7, 0)).all()
    assert (drawn != rows(8, 0)).any() and (drawn != rows(7, 1)).any()


def test_a_trial_spells_its_tokens_in_its_own_way() -> None:
    spelling = draw_spelling(len(TOKENS), np.random.default_rng(1))
    stream = Stream(StreamPlan(Counting(), spelling=spelling, max_steps=10))
    stream.declare(1)
    stream.start()
    taken = stream.take(0, 1, 500)[0]
    assert sorted(spelling) == list(TOKENS) and (taken == spelling[:501]).all()


WORKERS = """
    import socket, time
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    assert harness.info()["workers"] == world == 2 and harness.info()["rank"] == rank
    steps = harness.declare(2)
    run = harness.start()
    where = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    total = sum(int(run.batch(10)[0]) for _ in range(steps))
    if rank == 0:
        with socket.create_server(where) as server:
            server.settimeout(100)
            peer = server.accept()[0]
            total += int(peer.recv(16))
        (run.output / "said").write_text(str(total))
    else:
        for _ in range(2000):
            try:
                peer = socket.create_connection(where, 1)
                break
            except OSError:
                time.sleep(0.05)
        peer.sendall(str(total).encode())
"""


def test_workers_run_side_by_side_and_talk_over_a_loopback(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    result = trial(Taking(workers=2), sandbox, tmp_path, WORKERS)
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    assert (result.metric, result.observed["said"]) == (2, 100 + 110 + 120 + 130)


def test_a_lost_worker_ends_the_trial_and_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    code = """
        import signal, time
        steps = harness.declare(2)
        run = harness.start()
        (run.output / "said").write_text("1")
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    """
    result = trial(Taking(workers=2), sandbox, tmp_path, code)
    assert result.status is TrialStatus.CRASHED
    assert "worker 1 of 2 was lost: killed by SIGKILL" in result.error
    assert result.observed["trial_s"] < 30 and not list(tmp_path.iterdir())
