"""The place of the attacks: what they must not reach is really there, and is looked at afterwards.

An attack that says it was stopped proves little; the arena looks at the secret's surroundings, the
listeners, the bystander and the workspace from outside, after every attack.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import novum
from novum.sandboxes.disk import entries
from novum.sandboxes.doctor.catalogue import FOLDER, LIMITS
from novum.sandboxes.protocol import Mount

_SECRET_VARIABLES = ("NOVUM_DOCTOR_SECRET", "NOVUM_DOCTOR_MARK")
_BEAT_S = 0.4  # the heartbeat of a surviving daemon is 0.05 s
_IPC_CREAT, _IPC_RMID = 0o1000, 0


class Arena:
    """Secrets, listeners and a bystander outside; a workspace and inputs inside."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Arena:
        self._token = secrets.token_hex(16)
        self._mark = f"novum-doctor-{secrets.token_hex(4)}.txt"
        self._root = Path(tempfile.mkdtemp(prefix="novum-doctor-"))
        self._stack.callback(remove_tree, self._root)
        self.outside = self._root / "outside"
        self.inputs = self._root / "inputs"
        self.workspace = self._root / "workspace"
        self.outside.mkdir()
        (self.outside / "secret").write_text(self._token)
        shutil.copytree(FOLDER, self.inputs, ignore=shutil.ignore_patterns("__pycache__"))
        (self.inputs / "input.txt").write_text("input")
        self._inputs_before = _describe(self.inputs)
        self._stack.enter_context(_variables(self._token))
        self._fd = os.open(self.outside / "secret", os.O_RDONLY)
        self._stack.callback(os.close, self._fd)
        os.set_inheritable(self._fd, True)
        self._shm_file = Path("/dev/shm", self._mark)
        if self._shm_file.parent.is_dir():
            self._shm_file.write_text(self._token)
            self._stack.callback(self._shm_file.unlink, missing_ok=True)
        self._tmp_mark = Path(tempfile.gettempdir(), self._mark)
        self._tmp_mark.write_text("x")
        self._stack.callback(self._tmp_mark.unlink, missing_ok=True)
        self._shm_key = self._stack.enter_context(_shared_memory())
        self._listen()
        self._bystander: subprocess.Popen[bytes] | None = None
        self._stack.callback(self._end_bystander)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What an attack gets: the inputs, which hold the attacks, and the workspace."""
        return Mount(self.inputs, self.inputs), Mount(self.workspace, self.workspace, True)

    def prepare(self) -> None:
        """Empty the workspace, bring the bystander back to life, forget earlier callers."""
        remove_tree(self.workspace)
        self.workspace.mkdir(mode=0o755)
        if self._bystander is None or self._bystander.poll() is not None:
            self._bystander = self._start_bystander()
        self._calls()
        self._clean()

    def facts(self, has_own_init: bool) -> dict[str, str]:
        """What attacks are told, as environment variables."""
        assert self._bystander is not None, "prepare() comes first"
        known = {
            "NEKOT": self._token[::-1],
            "MARK": self._mark,
            "OUTSIDE": self.outside,
            "SECRET": self.outside / "secret",
            "WORKSPACE": self.workspace,
            "INPUTS": self.inputs,
            "HOME": Path.home(),
            "SOCKET": self.outside / "socket",
            "ABSTRACT": self._mark,
            "TCP_PORT": self._ports["tcp"],
            "TCP6_PORT": self._ports.get("tcp6", ""),
            "UDP_PORT": self._ports["udp"],
            "ENGINE": os.environ.get("DOCKER_HOST", "").removeprefix("unix://"),
            "BYSTANDER": self._bystander.pid,
            "BYSTANDER_MARK": f"bystander-{self._mark}",
            "DOCTOR": os.getpid(),
            "SESSION": os.getsid(0),
            "HAS_OWN_INIT": int(has_own_init),
            "HANDLE": _file_handle(self.outside / "secret").hex(),
            "ACCOUNTS": ",".join(row.pw_name for row in pwd.getpwall()),
            "SHM": self._shm_file,
            "SHM_KEY": self._shm_key,
            "TMP_MARK": self._tmp_mark,
            "GRADER": Path(novum.__path__[0]).resolve() / "errors.py",
            "DISK": os.stat("/").st_dev,
            "OPEN_FD": self._fd,
            "MEMORY_BYTES": LIMITS.memory_bytes,
            "PIDS": LIMITS.pids,
            "FILE_BYTES": LIMITS.file_bytes,
            "DISK_BYTES": LIMITS.disk_bytes,
        }
        return {f"ATTACK_{name}": str(value) for name, value in known.items()}

    def residue(self) -> str | None:
        """What an attack changed outside, in words; `None` when nothing."""
        traces = [*self._calls(), *self._outside_changes(), *self._left_in_workspace()]
        assert self._bystander is not None, "prepare() comes first"
        if self._bystander.poll() is not None:
            traces.append("a process of the host died")
        if self._has_heartbeat():
            traces.append("a process of the sandbox still writes")
        return "; ".join(traces) or None

    def _listen(self) -> None:
        self._listeners: dict[str, socket.socket] = {}
        places: dict[str, tuple[int, int, object]] = {
            "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self._mark),
            "path": (socket.AF_UNIX, socket.SOCK_STREAM, str(self.outside / "socket")),
        }
        for name, (family, kind, address) in places.items():
            listener = socket.socket(family, kind)
            self._stack.callback(listener.close)
            try:
                listener.bind(address)  # type: ignore[arg-type]
            except OSError:
                if name == "tcp6":
                    continue  # a machine without IPv6 has nothing to attack there
                raise
            if kind == socket.SOCK_STREAM:
                listener.listen(8)
            listener.setblocking(False)
            self._listeners[name] = listener
        (self.outside / "socket").chmod(0o777)
        named = {n: s for n, s in self._listeners.items() if n not in ("abstract", "path")}
        self._ports = {name: listener.getsockname()[1] for name, listener in named.items()}

    def _calls(self) -> list[str]:
        callers = []
        for name, listener in self._listeners.items():
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(4096)
                else:
                    listener.accept()[0].close()
                callers.append(f"the {name} listener of the host was reached")
        return callers

    def _outside_changes(self) -> list[str]:
        changes = [f"wrote {path}" for path in self._marks() if os.path.exists(path)]
        names = set(os.listdir(self.outside)) - {"secret", "socket"}
        if names:
            changes.append(f"wrote {', '.join(sorted(names))} outside the mounts")
        if _describe(self.inputs) != self._inputs_before:
            changes.append("changed the inputs")
        self._clean()
        return changes

    def _left_in_workspace(self) -> list[str]:
        found = []
        with contextlib.suppress(OSError):  # deeper than a path can say: removed all the same
            for entry in entries(self.workspace):
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                    found.append("left a program that runs as its owner")
                if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
                    found.append("left a device node")
        return found

    def _has_heartbeat(self) -> bool:
        beat = self.workspace / "heartbeat"
        if not beat.exists():
            return False
        before = beat.stat().st_size
        time.sleep(_BEAT_S)
        return beat.stat().st_size > before

    def _marks(self) -> Iterator[Path]:
        folders = ("/", "/run", "/dev", "/var/tmp", "/root", "/etc", "/usr", "/usr/lib")
        base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
        library = {sysconfig.get_path("purelib"), sysconfig.get_path("purelib", vars=base)}
        library.add(os.path.dirname(os.__file__))
        for folder in (*folders, "/usr/local/bin", *library):
            yield Path(folder, self._mark)

    def _clean(self) -> None:
        for path in self._marks():
            if os.path.exists(path):
                path.unlink()
        for name in set(os.listdir(self.outside)) - {"secret", "socket"}:
            (self.outside / name).unlink()
        if _describe(self.inputs) != self._inputs_before:
            (self.inputs / "input.txt").unlink(missing_ok=True)
            (self.inputs / "input.txt").write_text("input")
            self._inputs_before = _describe(self.inputs)

    def _start_bystander(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BYSTANDER, f"bystander-{self._mark}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()  # it is up
        process.stdout.close()
        return process

    def _end_bystander(self) -> None:
        if self._bystander is not None:
            self._bystander.kill()
            self._bystander.wait()


# Ends with the doctor even when that is killed.
_BYSTANDER = """
import os, time
parent = os.getppid()
print("up", flush=True)
while os.getppid() == parent:
    time.sleep(0.5)
"""


def remove_tree(folder: Path) -> None:
    """Remove a folder however deep it is and whatever the names in it are."""
    if not os.path.lexists(folder):
        return
    subprocess.run(["rm", "-rf", "--", os.fspath(folder)], check=True, capture_output=True)


@contextlib.contextmanager
def _variables(token: str) -> Iterator[None]:
    os.environ.update(dict.fromkeys(_SECRET_VARIABLES, token))
    try:
        yield
    finally:
        for name in _SECRET_VARIABLES:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _shared_memory() -> Iterator[int]:
    """The key of a System V segment that the whole host may attach; 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbelow(1 << 30) + 1
    segment = libc.shmget(key, 4096, _IPC_CREAT | 0o666)
    try:
        yield key if segment >= 0 else 0
    finally:
        if segment >= 0:
            libc.shmctl(segment, _IPC_RMID, None)


def _describe(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if "__pycache__" not in path.parts:
            status = path.lstat()
            # group and read bits may be opened for the user of a container
            found[str(path)] = (status.st_mode & 0o7222, status.st_size, status.st_mtime_ns)
    return found


def _file_handle(path: Path) -> bytes:
    """The kernel's name for a file, by which root may open it past every path; empty if unknown."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer((128).to_bytes(4, sys.byteorder), 8 + 128)
    mount = ctypes.c_int()
    name = os.fsencode(path)
    if libc.name_to_handle_at(-100, name, handle, ctypes.byref(mount), 0) != 0:
        return b""
    return handle.raw
