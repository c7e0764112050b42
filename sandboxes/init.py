"""The first process inside a sandbox: sets limits, starts the program, reaps, reports, ends.

This file stands alone: it runs inside, as `python -I -S -B init.py KEY=VALUE... -- ARGV...`, where
Novum is not visible; only `landlock.py` lies beside it. As process 1 of its own PID namespace its
end is the end of every process in the sandbox, and no process inside can signal, trace or read it.

It reports on one channel (a pipe it was born with, or a unix socket it connects to before the
program exists), one line each: `ready LANDLOCK_ABI` and `exit WAIT_STATUS CPU_SECONDS`. The
program never holds that channel. What it says of limits and kills is not for this process to
judge: the watcher outside does that.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without `enum`: 4 ms less
import ctypes
import os
import resource
import sys

CANNOT_START = 127  # what a shell answers for a command that it cannot run
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2


def main(words: list[str]) -> int:
    """Run the program named after `--` under the options before it."""
    split = words.index("--")
    options = dict(word.split("=", 1) for word in words[:split])
    channel = _open_channel(options)
    os.closerange(3, channel)
    os.closerange(channel + 1, 1 << 20)
    _limit(options)
    for name in options.get("drop_env", "").split(","):
        os.environ.pop(name, None)
    version = _landlock(options)
    _no_dump()
    if program := options.get("seccomp"):
        _load_filter(bytes.fromhex(program))
    is_remote = "status_socket" in options
    if is_remote:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    os.write(channel, f"ready {version}\n".encode())
    child = os.fork()
    if child == 0:
        _become(options["cwd"], words[split + 1 :])
    status = _reap_until(child, channel, is_remote)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.write(channel, f"exit {status} {used.ru_utime + used.ru_stime:.6f}\n".encode())
    return 0


def _open_channel(options: dict[str, str]) -> int:
    if "status_fd" in options:
        channel = int(options["status_fd"])
        os.set_inheritable(channel, False)
        return channel
    import socket  # only where no pipe can be passed

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(options["status_socket"])
    return connection.detach()


def _limit(options: dict[str, str]) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: int(options["file_bytes"]),
        resource.RLIMIT_NOFILE: int(options["open_files"]),
    }
    if "pids" in options:
        limits[resource.RLIMIT_NPROC] = int(options["pids"])
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")  # when memory ends, this tree goes before anything of the host
    except OSError:
        pass  # a container may mount /proc read-only; the limit itself does not depend on it


def _landlock(options: dict[str, str]) -> int:
    if options.get("landlock") != "1":
        return 0
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import landlock  # type: ignore[import-not-found, unused-ignore]

    writable = [path for path in options["writable"].split("\n") if os.path.exists(path)]
    devices = ["/dev", *(["/proc"] if options.get("gpu") == "1" else [])]  # CUDA names its threads
    loopback = options.get("loopback") == "1"
    version: int = landlock.restrict(writable, devices, loopback)
    return version


def _no_dump() -> None:
    """Close /proc/1 to the program: without this it could reopen the channel from there."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_DUMPABLE was refused")


def _load_filter(program: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    pointer = ctypes.byref(Program(len(program) // 8, program))
    if (
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, pointer, 0, 0) != 0
    ):
        raise OSError(ctypes.get_errno(), "the seccomp filter was refused")


def _become(cwd: str, argv: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(cwd)
        os.execvpe(argv[0], argv, dict(os.environ))
    except OSError as error:
        os.write(2, f"novum: cannot start {argv[0]} in {cwd}: {error}\n".encode())
        os._exit(CANNOT_START)


def _reap_until(child: int, channel: int, is_remote: bool) -> int:
    """Collect every dead process of the sandbox until `child` is among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG if is_remote else 0)
        if pid == child:
            return status
        if pid == 0:
            signal.sigtimedwait({signal.SIGCHLD}, 1.0)
            _end_with_the_harness(channel)


def _end_with_the_harness(channel: int) -> None:
    """Leave when nobody reads the channel any more: the harness died, so must the sandbox."""
    import select

    poller = select.poll()
    poller.register(channel, 0)  # errors and hang-ups are reported without being asked for
    if poller.poll(0):
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
