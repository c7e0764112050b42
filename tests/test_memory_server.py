"""A memory behind a real Chroma server, which goes away in the middle and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from novum.lab.records import Kind, Label, Lesson
from novum.memory.chroma import LESSONS, ChromaMemory

pytestmark = pytest.mark.slow


def lesson(i: int, run: str = "first") -> Lesson:
    return Lesson(
        id=f"l{i}",
        benchmark="nanochat",
        hypothesis=f"change number {i} makes the optimiser faster",
        kind=Kind.OPTIMISER,
        diff_summary="",
        label=Label.NOISE,
        gain=0.0,
        interval=None,
        cost_s=1.0,
        proposal=f"p{i}",
        tree=f"t{i}",
        run=run,
    )


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """A server on loopback for as long as the block runs."""
    code = "from chromadb.cli.cli import app; app()"
    command = [sys.executable, "-c", code, "run", "--path", str(folder), "--port", str(port)]
    quiet = {**os.environ, "ANONYMIZED_TELEMETRY": "False", "NO_COLOR": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/v2/heartbeat", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended before it answered"
                assert time.monotonic() < deadline, "the server did not answer in two minutes"
                time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def test_two_processes_share_a_server_and_its_absence_loses_nothing(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(tmp_path / "db", port) as address:
        memory = ChromaMemory.open(address, benchmark="nanochat")
        other = ChromaMemory.open(address, benchmark="nanochat")
        memory.add(lesson(1))
        assert memory.flush()
        assert [x.id for x in other.recall("a faster optimiser", 3)] == ["l1"]
        other.close()
    memory.add(lesson(2))
    found = [x.id for x in memory.recall("change number 2", 3)]
    assert found[0] == "l2", "what this process learned is found while the server is away"
    assert memory.trouble and memory.n_waiting == 1
    with served(tmp_path / "db", port) as address:
        assert memory.flush(60), memory.trouble
        assert not memory.trouble
        memory.close()
        again = ChromaMemory.open(address, benchmark="nanochat")
        assert sorted(x.id for x in again.lessons("nanochat")) == ["l1", "l2"]
        assert again._store.count(LESSONS) == 2
        again.close()
