"""What is particular to bubblewrap: its faults, its layers, and what root and users get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from novum.errors import SandboxLost, SandboxUnavailable
from novum.sandboxes import Confinement, Exit, ExitCause, Limits, Promise, SandboxedProcess
from novum.sandboxes.bubblewrap import BubblewrapSandbox
from novum.sandboxes.doctor import ATTACKS, examine


@pytest.fixture(scope="module")
def sandbox() -> BubblewrapSandbox:
    found = BubblewrapSandbox()
    try:
        found.check()
    except SandboxUnavailable as error:
        pytest.skip(f"bubblewrap cannot run here: {error}")
    return found


def confine(code: str) -> Confinement:
    argv = ("python", "-I", "-S", "-c", code)
    return Confinement(argv, Path("/tmp"), limits=Limits(wall_s=30))


def fake(folder: Path, message: str) -> str:
    """A `bwrap` that fails as the real one does on some machines."""
    script = folder / "bwrap"
    script.write_text(f"#!/bin/sh\necho 'bwrap: {message}' >&2\nexit 1\n")
    script.chmod(0o755)
    return str(script)


def test_a_machine_without_it_is_told_how_to_get_it() -> None:
    absent = BubblewrapSandbox("no-such-bwrap")
    for attempt in (absent.check, lambda: absent.start(confine("pass"))):
        with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
            attempt()


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        (
            "No permissions to create new namespace, likely because the kernel does not allow "
            "non-privileged user namespaces.",
            "unprivileged_userns_clone",
        ),
        ("loopback: Failed RTM_NEWADDR: Operation not permitted", "user namespaces"),
        ("Creating new namespace failed: No space left on device", "max_user_namespaces"),
        ("Creating new namespace failed: Invalid argument", "lacks a namespace"),
    ],
)
def test_a_kernel_that_forbids_namespaces_is_named_with_the_remedy(
    tmp_path: Path, message: str, remedy: str
) -> None:
    broken = BubblewrapSandbox(fake(tmp_path, message))
    with pytest.raises(SandboxUnavailable, match=remedy) as caught:
        broken.check()
    assert message in str(caught.value)
    with pytest.raises(SandboxUnavailable, match=remedy):
        broken.start(confine("pass"))


def test_a_failure_of_another_kind_may_be_tried_again(tmp_path: Path) -> None:
    broken = BubblewrapSandbox(fake(tmp_path, "out of memory"))
    with pytest.raises(SandboxLost, match="out of memory"):
        broken.start(confine("pass"))


def _wrapper_of(process: SandboxedProcess) -> int:
    return process._tree._outer.pid  # type: ignore[attr-defined, no-any-return]


def _first_of(process: SandboxedProcess) -> int:
    return process._tree._first  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("victim", [_wrapper_of, _first_of], ids=["bwrap", "first-process"])
def test_a_sandbox_killed_from_outside_is_lost_and_leaves_nothing(
    sandbox: BubblewrapSandbox, victim: object
) -> None:
    process = sandbox.start(confine("import os, time; os.fork(); time.sleep(60)"))
    time.sleep(0.2)
    os.kill(victim(process), signal.SIGKILL)  # type: ignore[operator]
    ended = process.wait(120)
    assert ended is not None
    assert (ended.cause, ended.n_survivors) == (ExitCause.LOST, 0)


def test_a_sandbox_outlives_the_thread_that_started_it(sandbox: BubblewrapSandbox) -> None:
    started: list[SandboxedProcess] = []
    work = confine("import time; time.sleep(0.5); print('done')")
    thread = threading.Thread(target=lambda: started.append(sandbox.start(work)))
    thread.start()
    thread.join()
    ended = started[0].wait(120)
    assert ended is not None
    assert (ended.cause, ended.stdout) == (ExitCause.EXITED, "done\n")


def test_a_sandbox_dies_with_the_harness(sandbox: BubblewrapSandbox, tmp_path: Path) -> None:
    script = f"""
import os, sys
from pathlib import Path
from novum.sandboxes import Confinement, Mount
from novum.sandboxes.bubblewrap import BubblewrapSandbox
code = "import time\\nwhile True:\\n open('beat', 'a').write('.')\\n time.sleep(0.02)"
out = Path({str(tmp_path)!r})
BubblewrapSandbox().start(
    Confinement(("python", "-I", "-S", "-c", code), out, (Mount(out, out, True),))
)
sys.stdin.read()
"""
    harness = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    beat = tmp_path / "beat"
    until = time.monotonic() + 120
    while not beat.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert beat.exists()
    harness.kill()
    harness.wait()
    assert harness.stdin is not None
    harness.stdin.close()
    until = time.monotonic() + 120
    while time.monotonic() < until:
        before = beat.stat().st_size
        time.sleep(0.3)
        if beat.stat().st_size == before:
            return
    pytest.fail("the sandbox still writes after its harness died")


def test_nothing_is_left_open_after_a_start(sandbox: BubblewrapSandbox) -> None:
    def run() -> None:
        ended = sandbox.start(confine("pass")).wait(120)
        assert ended is not None and ended.code == 0

    run()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing itself


def test_nothing_is_left_open_after_a_failed_start(tmp_path: Path) -> None:
    broken = BubblewrapSandbox(fake(tmp_path, "out of memory"))
    with pytest.raises(SandboxLost):
        broken.start(confine("pass"))
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(SandboxLost):
        broken.start(confine("pass"))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1


def test_without_control_groups_it_says_what_it_no_longer_promises(
    sandbox: BubblewrapSandbox,
) -> None:
    bare = BubblewrapSandbox(groups=None)
    assert "sampling" in bare.layers
    assert not any(layer.startswith("cgroup") for layer in bare.layers)
    assert (Promise.PROCESSES_BOUNDED in bare.promises) == (os.geteuid() != 0)
    # How much was held when the first sample saw it depends on how busy the machine is.
    attacks = [
        replace(attack, judge=by_the_clock_only)
        for attack in ATTACKS
        if attack.promise is Promise.MEMORY_BOUNDED
    ]
    assert examine(bare, attacks).is_sound


def by_the_clock_only(ended: Exit) -> str | None:
    """What is wrong where nobody stopped a program that takes too much."""
    return "nobody stopped it" if ended.cause is ExitCause.TIMEOUT else None
