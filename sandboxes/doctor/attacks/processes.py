"""Reach another process: signal it, trace it, read it, or only see it."""

import ctypes
import os
import signal

from facts import fact, syscall, token

_ATTACH, _DETACH = 16, 17


def walk() -> str | None:
    """Find a process of the host in /proc."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if fact("BYSTANDER_MARK").encode() in open(f"/proc/{pid}/cmdline", "rb").read():
                return f"sees process {pid} of the host"
        except OSError:
            continue
    return None


def environment() -> str | None:
    """Read the environment of other processes."""
    for pid in {*filter(str.isdigit, os.listdir("/proc")), fact("BYSTANDER")} - {"self"}:
        if int(pid) == os.getpid():
            continue
        try:
            if token().encode() in open(f"/proc/{pid}/environ", "rb").read():
                return f"read the secret in the environment of process {pid}"
        except OSError:
            continue
    return None


def kill() -> str | None:
    """Kill a process of the host; whether it died is seen outside."""
    os.kill(int(fact("BYSTANDER")), signal.SIGKILL)
    return "sent SIGKILL to a process of the host"


def signal_doctor() -> str | None:
    """Send the harness a (harmless) signal."""
    os.kill(int(fact("DOCTOR")), signal.SIGCONT)
    return "signalled the harness"


def trace() -> str | None:
    """Attach to a process as a debugger does."""
    pid = int(fact("BYSTANDER"))
    syscall(101, 117, _ATTACH, pid, 0, 0)
    try:
        syscall(61, 260, pid, 0, 0x40000000, 0)  # wait4(__WALL): it stops before it can be let go
    finally:
        syscall(101, 117, _DETACH, pid, 0, 0)
    return "attached to a process of the host"


def trace_own_child() -> str | None:
    """Trace a child: what attacks on the kernel's tracing code start from."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        syscall(101, 117, _ATTACH, child, 0, 0)
        return "may trace"
    finally:
        os.kill(child, signal.SIGKILL)


def read_memory() -> str | None:
    """Copy memory out of a process."""
    return _peek(int(fact("BYSTANDER")))


def memory_file() -> str | None:
    """Open the memory of a process as a file."""
    with open(f"/proc/{fact('BYSTANDER')}/mem", "rb"):
        return "opened the memory of a process of the host"


def take_descriptor() -> str | None:
    """Copy an open file out of a process."""
    handle = os.pidfd_open(int(fact("BYSTANDER")))
    syscall(438, 438, handle, 0, 0)
    return "took a descriptor of a process of the host"


def init_channel() -> str | None:
    """Reopen what the first process of the sandbox holds, such as its report to the harness."""
    for number in range(64):
        for mode in (os.O_WRONLY, os.O_RDONLY):
            try:
                os.close(os.open(f"/proc/1/fd/{number}", mode | os.O_NONBLOCK))
                return f"reopened descriptor {number} of process 1"
            except OSError:
                continue
    return None


def kill_init() -> str | None:
    """Kill the process that reports for the sandbox."""
    if os.getppid() != 1 or fact("HAS_OWN_INIT") != "1":
        return "the parent is a process of the host"
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        os.kill(1, number)
    return None  # had it worked, nobody would be left to say so


def shared_memory() -> str | None:
    """Attach to a System V shared memory segment of the host."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = int(fact("SHM_KEY") or 0)
    segment = libc.shmget(key, 0, 0) if key else -1
    if segment < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "found a shared memory segment of the host"


def join_namespace() -> str | None:
    """Enter the namespaces of a process of the host."""
    fd = os.open(f"/proc/{fact('BYSTANDER')}/ns/net", os.O_RDONLY)
    syscall(308, 268, fd, 0)
    return "joined a namespace of the host"


def slow_down() -> str | None:
    """Lower the priority of a process of the host."""
    os.setpriority(os.PRIO_PROCESS, int(fact("BYSTANDER")), 19)
    return "changed the priority of a process of the host"


def _peek(pid: int) -> str | None:
    class Piece(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    start = next(
        int(line.split("-")[0], 16) for line in open(f"/proc/{pid}/maps") if "[stack]" in line
    )
    buffer = ctypes.create_string_buffer(16)
    here = Piece(ctypes.cast(buffer, ctypes.c_void_p), 16)
    there = Piece(ctypes.c_void_p(start), 16)
    n = syscall(310, 270, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return f"read {n} bytes of the memory of a process of the host" if n > 0 else None
