"""CPU time that no parent collects is kept as it was seen, also under a pid that comes again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from novum.sandboxes.accounts import Accounts
from novum.sandboxes.bubblewrap import BubblewrapSandbox
from novum.sandboxes.process import ProcessSandbox
from novum.sandboxes.protocol import Confinement, Limits, Mount, Sandbox

WORK_S = 0.3
SEEN_S = WORK_S - 0.05
"""The kernel counts in ticks of a hundredth of a second, for user and system time each."""
WORKS = f"import time\nwhile time.process_time() < {WORK_S}: pass\ntime.sleep(600)"


def test_what_a_process_used_stays_in_the_account_when_it_is_gone() -> None:
    accounts = Accounts()
    for n_gone in range(2):
        worker = subprocess.Popen([sys.executable, "-I", "-S", "-c", WORKS])
        until = time.monotonic() + 120
        while accounts.cpu_s() < SEEN_S * (n_gone + 1) and time.monotonic() < until:
            accounts.look([worker.pid])
            time.sleep(0.01)
        assert accounts.living() == {worker.pid}
        worker.kill()
        worker.wait()
        accounts.look([])
        assert accounts.cpu_s() >= SEEN_S * (n_gone + 1)
    assert accounts.living() == set()
    assert accounts.cpu_s(collected_s=100.0) == 100.0


def test_this_process_is_counted_with_the_children_that_it_has_collected() -> None:
    code = f"import time\nwhile time.process_time() < {WORK_S}: pass"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
    accounts = Accounts()
    accounts.look([os.getpid()])
    assert accounts.cpu_s() >= time.process_time() - 0.1 + SEEN_S


CHILDREN = f"""
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for name in ("one", "two", "three"):
    if os.fork() == 0:
        while time.process_time() < {WORK_S}: pass
        open("out/" + name, "w").close()
        while not os.path.exists("out/" + name + "-seen"): time.sleep(0.01)
        os._exit(0)
    try:
        os.wait()
    except ChildProcessError:
        pass
"""


@pytest.mark.parametrize("sandbox", [BubblewrapSandbox(groups=None), ProcessSandbox(groups=None)])
def test_children_whose_end_is_ignored_are_counted_without_control_groups(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Training in children that nobody collects would be outside of a CPU budget."""
    try:
        sandbox.check()
    except Exception as error:  # whatever keeps this provider from running here
        pytest.skip(f"{sandbox.name} cannot run here: {error}")
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    mounts = (Mount(tmp_path, tmp_path), Mount(tmp_path / "out", tmp_path / "out", writable=True))
    argv = ("python", "-I", "-S", "-c", CHILDREN)
    process = sandbox.start(Confinement(argv, tmp_path, mounts, limits=Limits(wall_s=300)))
    until = time.monotonic() + 240
    for name in ("one", "two", "three"):
        while not (tmp_path / "out" / name).exists():
            assert process.is_running and time.monotonic() < until, process.wait(0)
            time.sleep(0.01)
        process.cpu_s()  # a look while it waits, so that no timing decides
        time.sleep(0.05)
        process.cpu_s()
        (tmp_path / "out" / f"{name}-seen").touch()
    ended = process.wait(120)
    assert ended is not None and ended.cpu_s >= 3 * SEEN_S
