"""What a solution starts stands still while the other arm is timed, and ends with its child."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from novum.benchmarks.kernels.workers import Workers
from novum.errors import SandboxUnavailable
from novum.sandboxes import find_sandbox
from novum.sandboxes.protocol import Limits

if importlib.util.find_spec("torch") is None:
    pytest.skip("workers import PyTorch: pip install 'novum[train]'", allow_module_level=True)

PATIENCE_S = 120.0
BUSY = """
import os
import threading


def work(name):
    with open(os.path.join(os.environ["HOME"], name), "ab", buffering=0) as file:
        while True:
            file.write(b".")


threading.Thread(target=work, args=("thread",), daemon=True).start()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        work("daemon")
    os._exit(0)
os.wait()


def run(x):
    return x
"""
NAMES = ("thread", "daemon")


@pytest.fixture(params=["process", "bubblewrap"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    try:
        launch = find_sandbox(request.param).start
    except SandboxUnavailable as error:
        pytest.skip(f"{request.param} cannot run here: {error}")
    limits = Limits(wall_s=600, memory_bytes=4 << 30, pids=64, file_bytes=1 << 30)
    with Workers(launch, device="cpu", limits=limits) as made:
        yield made


def sizes(workers: Workers) -> list[int]:
    paths = [workers.folder / "home" / name for name in NAMES]
    return [path.stat().st_size if path.exists() else 0 for path in paths]


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)


def load(workers: Workers) -> Callable[[], None]:
    """Have a child import what works on; gives what ends the child."""
    child = workers.fork()
    folder = workers.add("busy", {"busy.py": BUSY.encode()})
    message = {"do": "load", "folder": str(folder), "file": "busy.py", "function": "run"}
    child.ask(message | {"returns": True}, timeout_s=PATIENCE_S)
    return child.close


def grows(workers: Workers) -> None:
    before = sizes(workers)
    wait_until(lambda: all(a > b for a, b in zip(sizes(workers), before, strict=True)))


def test_threads_and_daemons_stand_still_while_paused_and_end_with_their_child(
    workers: Workers,
) -> None:
    end = load(workers)
    grows(workers)
    with workers.paused():
        before = sizes(workers)
        time.sleep(0.2)
        assert sizes(workers) == before
    grows(workers)
    end()
    workers.fork().close()  # answered after what was left of the child before is gone
    before = sizes(workers)
    time.sleep(0.2)
    assert sizes(workers) == before
    assert workers.is_running


def test_a_pause_needs_nobody_to_stop(workers: Workers, tmp_path: Path) -> None:
    with workers.paused():
        assert not any(sizes(workers))
    child = workers.fork()
    with workers.paused():
        pass
    child.ask({"do": "begin"}, timeout_s=PATIENCE_S)
    child.close()
