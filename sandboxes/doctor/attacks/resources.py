"""Use up what belongs to all: time, memory, processes, disk, the reader's patience."""

import mmap
import os
import signal
import subprocess
import sys
import threading
import time

from facts import fact

MB = 1 << 20
HOLD_S = 1.5
"""How long memory is held that was given: where it is sampled, a busy machine looks late."""


def endless_loop() -> str | None:
    """Compute for ever."""
    while True:
        pass


def deaf_sleeper() -> str | None:
    """Ignore every signal that can be ignored, and sleep."""
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    while True:
        time.sleep(60)


def stop_itself() -> str | None:
    """Stand still, so that a polite request to end is never heard."""
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)
    return None


def busy_grandchild() -> str | None:
    """Leave the work to a grandchild in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                pass
        os._exit(0)
    time.sleep(60)
    return None


def memory() -> str | None:
    """Take four times the allowed memory."""
    return _take(4 * int(fact("MEMORY_BYTES")))


def memory_in_children() -> str | None:
    """Take it in several processes, each within the limit."""
    share = int(fact("MEMORY_BYTES")) // 2
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            _take(share)
            os._exit(0)
        children.append(child)
    ended = [os.waitpid(child, 0)[1] for child in children]
    return "all of it was given" if not any(ended) else None


def shared_memory() -> str | None:
    """Take it as shared memory, which no process seems to own."""
    size = 4 * int(fact("MEMORY_BYTES"))
    area = mmap.mmap(-1, size)
    for offset in range(0, size, 4096):
        area[offset] = 1
    time.sleep(HOLD_S)
    return f"holds {size // MB} MB"


def memory_files() -> str | None:
    """Take it as files that live in memory, each of an allowed size."""
    size, part = 4 * int(fact("MEMORY_BYTES")), int(fact("FILE_BYTES")) // MB
    for index in range(size // MB):
        if index % part == 0:
            fd = os.memfd_create("balloon")
        os.write(fd, b"x" * MB)
    time.sleep(HOLD_S)
    return f"holds {size // MB} MB"


def fork_bomb() -> str | None:
    """Start processes, up to three times the limit."""
    limit, started = int(fact("PIDS")), []
    try:
        for _ in range(3 * limit):
            child = os.fork()
            if child == 0:
                time.sleep(5)
                os._exit(0)
            started.append(child)
    except OSError:
        pass
    for child in started:
        os.kill(child, signal.SIGKILL)
    return f"ran {len(started)} processes, {limit} allowed" if len(started) > limit else None


def thread_bomb() -> str | None:
    """Start threads, up to three times the limit."""
    limit, end = int(fact("PIDS")), threading.Event()
    started = 0
    try:
        for _ in range(3 * limit):
            threading.Thread(target=end.wait, daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    end.set()
    return f"ran {started} threads, {limit} allowed" if started > limit else None


def big_file() -> str | None:
    """Write one file of twice the allowed size."""
    size = 2 * int(fact("FILE_BYTES"))
    with open(os.path.join(fact("WORKSPACE"), "big"), "wb") as file:
        for _ in range(size // MB):
            file.write(b"x" * MB)
    return f"wrote a file of {size // MB} MB"


def sparse_file() -> str | None:
    """Make a file that claims a terabyte, for whoever copies it."""
    path = os.path.join(fact("WORKSPACE"), "sparse")
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    return "made a file of 1 TB"


def many_files() -> str | None:
    """Write many allowed files, twice what the disk may hold."""
    size, total = int(fact("FILE_BYTES")) // 2, 2 * int(fact("DISK_BYTES"))
    for index in range(total // size):
        with open(os.path.join(fact("WORKSPACE"), f"part{index}"), "wb") as file:
            file.write(b"x" * size)
    time.sleep(3)
    return f"wrote {total // MB} MB in files"


def fill_tmp() -> str | None:
    """Fill /tmp with twice what it may hold."""
    return _fill("/tmp")


def fill_shm() -> str | None:
    """Fill /dev/shm with twice what it may hold."""
    return _fill("/dev/shm")


def fill_root() -> str | None:
    """Fill what lies below the mounts: the root, /run, /dev, home folders."""
    for folder in ("/", "/run", "/dev", "/var/tmp", "/root", "/etc", "/usr"):
        try:
            with open(os.path.join(folder, fact("MARK")), "wb") as file:
                file.write(b"x")
            return f"may write to {folder}"
        except OSError:
            continue
    return None


def deep_folders() -> str | None:
    """Nest folders deeper than a path is long, so that cleaning up fails."""
    os.chdir(fact("WORKSPACE"))
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    return None


def odd_names() -> str | None:
    """Use names that are no text, hold line ends, or look like options."""
    for name in (b"\xff\xfe", b"-rf", b"line\nend", b"\x1b[2Jclear", b"a" * 255, b" "):
        with open(os.path.join(os.fsencode(fact("WORKSPACE")), name), "wb"):
            pass
    return None


def flood() -> str | None:
    """Print 64 MB."""
    for _ in range(64):
        os.write(1, b"line of text\n" * (MB // 13))
    return None


def endless_line() -> str | None:
    """Print 16 MB without an end of line, to the error stream."""
    for _ in range(16):
        os.write(2, b"\x00\x1b[31m" + b"x" * MB)
    return None


def daemon() -> str | None:
    """Leave a process behind that writes on: two forks and a session of its own."""
    _leave_behind(ignores=False)
    return None


def deaf_daemon() -> str | None:
    """The same, ignoring signals, with the workspace's program exiting by a signal."""
    _leave_behind(ignores=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def daemon_past_timeout() -> str | None:
    """Leave one behind and run into the time limit."""
    _leave_behind(ignores=True)
    while True:
        time.sleep(60)


def pipe_holder() -> str | None:
    """Leave a grandchild that keeps the output open, for a reader that waits for its end."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(20)"], start_new_session=True
    )
    return None


def _take(n_bytes: int) -> str | None:
    kept = []
    for _ in range(n_bytes // (4 * MB)):
        piece = bytearray(4 * MB)
        piece[::4096] = b"x" * len(piece[::4096])
        kept.append(piece)
    time.sleep(HOLD_S)
    return f"holds {len(kept) * 4} MB"


def _fill(folder: str) -> str | None:
    size, written = 2 * int(fact("FILE_BYTES")), 0
    piece = int(fact("FILE_BYTES")) // 4
    paths = []
    try:
        for index in range(size // piece):
            path = os.path.join(folder, f"{fact('MARK')}-{index}")
            paths.append(path)
            with open(path, "wb") as file:
                file.write(b"x" * piece)
            written += piece
    except OSError:
        pass
    finally:
        for path in paths:
            if os.path.exists(path):
                os.unlink(path)
    return f"wrote {written // MB} MB to {folder}" if written > int(fact("FILE_BYTES")) else None


def _leave_behind(ignores: bool) -> None:
    path = os.path.join(fact("WORKSPACE"), "heartbeat")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if ignores:
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
            # ends by itself: a sandbox that leaves it alive must not leave it for ever
            until = time.monotonic() + 8
            while time.monotonic() < until:
                with open(path, "a") as file:
                    file.write(".")
                time.sleep(0.05)
        os._exit(0)
    while not os.path.exists(path):
        time.sleep(0.01)
