"""The parent of one candidate's process tree: starts it, adopts its orphans, ends them, reports.

This file stands alone: it runs as `python -I -S -B supervise.py KEY=VALUE... -- ARGV...`. As a
child subreaper it becomes the parent of every process below it that loses its own, so that a
daemon made by setsid and a double fork is still found, killed and accounted for. It has no wall
around it: a program of the same user can kill it, and then its pipe closes without a last line
and the watcher outside calls the trial lost.

It reports on a pipe it was born with, one line each: `ready 0` and `exit WAIT_STATUS CPU_SECONDS`.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without `enum`: 4 ms less
import os
import resource
import select
import sys

CANNOT_START = 127  # what a shell answers for a command that it cannot run
REAP_MS = 200  # orphans that end by themselves wait this long for their parent to notice
_PR_SET_CHILD_SUBREAPER = 36


def main(words: list[str]) -> None:
    """Run the program named after `--` under the options before it, and end with 0 if told so."""
    split = words.index("--")
    options = dict(word.split("=", 1) for word in words[:split])
    channel, go = int(options["status_fd"]), int(options["go_fd"])
    for fd in (channel, go):
        os.set_inheritable(fd, False)
    _become_subreaper()
    _limit(options)
    orders = _take_orders()
    os.write(channel, b"ready 0\n")
    if os.read(go, 1) != b"1":  # the harness died, or gave up, before the program existed
        os._exit(1)
    os.close(go)
    if orders:
        os._exit(1)  # killed before it was born
    child = os.fork()
    if child == 0:
        _become(words[split + 1 :], options["cwd"])
    status = _wait(child, channel)
    _end_the_rest()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.write(channel, f"exit {status} {used.ru_utime + used.ru_stime:.6f}\n".encode())
    os._exit(0)  # 4 ms sooner than the interpreter takes to tidy up


def _take_orders() -> list[int]:
    """Kill everything below at SIGTERM, also a program that is only just being born.

    From outside a process that does not exist yet cannot be killed. The list holds the orders that
    came; an order that comes during the fork is handled after it, when the child can be seen.
    """
    orders: list[int] = []

    def obey(number: int, frame: object) -> None:
        orders.append(number)
        _kill_the_rest()

    signal.signal(signal.SIGTERM, obey)
    return orders


def _become_subreaper() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER was refused")


def _limit(options: dict[str, str]) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: int(options["file_bytes"]),
        resource.RLIMIT_NOFILE: int(options["open_files"]),
    }
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def _become(argv: list[str], cwd: str) -> None:
    os.setsid()  # no terminal, and signals to our group do not reach it
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")  # when memory ends, this tree goes before anything of the host
    except OSError:
        pass  # /proc may be read-only; the limit itself does not depend on it
    try:
        os.chdir(cwd)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"novum: cannot start {argv[0]} in {cwd}: {error}\n".encode())
    os._exit(CANNOT_START)


def _wait(child: int, channel: int) -> int:
    """Collect the dead until `child` is among them; leave when nobody reads the channel."""
    handle = os.pidfd_open(child)
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    poller.register(channel, 0)  # errors and hang-ups are reported without being asked for
    while True:
        ready = [fd for fd, _ in poller.poll(REAP_MS)]
        if channel in ready:
            _end_the_rest()
            os._exit(1)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return status
            if pid == 0:
                break


def _end_the_rest() -> None:
    """Kill whatever is left below until nothing is: a dead parent's children become ours."""
    try:
        while True:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # an error says that nothing is left: every orphan below is a child of ours
            _kill_the_rest()
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def _kill_the_rest() -> None:
    for pid in _descendants():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _descendants() -> list[int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                pass  # it ended meanwhile
    found = [os.getpid()]
    for pid in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


if __name__ == "__main__":
    main(sys.argv[1:])
