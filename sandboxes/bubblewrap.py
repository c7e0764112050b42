"""The bubblewrap provider: namespaces without a daemon, a container without an image.

Layers: user, mount, PID, network, IPC, UTS and cgroup namespaces; a read-only system of the host's
own folders; private /tmp, /proc and /dev; the seccomp filter of `seccomp.py`; Landlock where the
kernel has it; rlimits; a control group where one may be made. `layers` says which of them are
active here, and a promise that has no layer under it is not in `promises`.

It does not protect from faults of the kernel or of the GPU driver, from what other processes on a
shared GPU leave in its memory, or from timing one's neighbours. Run by root, a process inside has
no capability and sees no file of the host but the mounts, yet keeps root's user id on the host.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from novum.errors import SandboxNotStarted, SandboxUnavailable
from novum.sandboxes import cgroups, gpus, interpreter, landlock, seccomp
from novum.sandboxes.capture import Capture
from novum.sandboxes.process_tree import NamespaceTree
from novum.sandboxes.protocol import Confinement, Mount, Promise, SandboxedProcess
from novum.sandboxes.spawner import SPAWNER
from novum.sandboxes.undo import close_quietly, end_process, open_pipe
from novum.sandboxes.watch import Channels, Watched, read_line

INSIDE = "/run/novum"  # where init.py lies inside
NOBODY = 65534
OPEN_FILES = 4096
START_S = 20.0  # a loaded machine may take seconds for what takes 20 ms
# Files of /proc that tell of the host or its kernel and that no namespace makes private.
MASKED = ("kcore", "keys", "key-users", "kmsg", "sched_debug", "timer_list", "kpagecount")
_PROBE = ("--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true")


class BubblewrapSandbox:
    """Run processes under `bwrap`; see the module for what that gives.

    `groups` are the control groups to use: those found on this machine unless given, `None` for
    none.
    """

    name = "bubblewrap"

    def __init__(
        self, executable: str = "bwrap", groups: cgroups.Groups | None | bool = True
    ) -> None:
        self._executable = executable
        self._groups = cgroups.find() if isinstance(groups, bool) else groups
        cgroups.sweep(self._groups)

    @property
    def layers(self) -> tuple[str, ...]:
        """The walls that stand on this machine, for the record of a run."""
        version = self._groups.version if self._groups else 0
        present = {
            "namespaces": True,
            "read-only-system": True,
            "rlimits": True,
            "seccomp": seccomp.is_supported(),
            f"landlock-{landlock.abi()}": landlock.abi() > 0,
            f"cgroup-v{version}": version > 0,
            "sampling": version == 0,
        }
        return tuple(name for name, is_here in present.items() if is_here)

    @property
    def promises(self) -> frozenset[Promise]:
        """All of them, less what this machine has no means for."""
        missing = set()
        if self._groups is None and os.geteuid() == 0:
            # the kernel exempts root from RLIMIT_NPROC, and sampling comes after the fact
            missing.add(Promise.PROCESSES_BOUNDED)
        if "--size" not in _help(self._executable):
            missing.add(Promise.DISK_BOUNDED)  # before 0.7 a private /tmp has no size
        if not seccomp.is_supported():
            missing |= {Promise.NO_PRIVILEGES, Promise.NO_TERMINAL}
        return frozenset(Promise) - missing

    def check(self) -> None:
        """See `Sandbox.check`."""
        if shutil.which(self._executable) is None:
            raise SandboxUnavailable(
                "bubblewrap is not installed: no program called bwrap is on the PATH.\n"
                "Install it (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install "
                "bubblewrap), or use the docker sandbox."
            )
        done = subprocess.run(
            [self._executable, *_PROBE], capture_output=True, text=True, timeout=START_S
        )
        if done.returncode != 0:
            raise SandboxUnavailable(explain(done.stderr))

    def start(self, confinement: Confinement) -> SandboxedProcess:
        """See `Sandbox.start`."""
        if shutil.which(self._executable) is None:
            self.check()
        with contextlib.ExitStack() as on_failure:
            return self._start(confinement, on_failure)

    def visible(self, host: Path, mounts: Sequence[Mount]) -> Path:
        """See `Sandbox.visible`."""
        return visible(host, mounts)

    def _start(self, confinement: Confinement, on_failure: contextlib.ExitStack) -> Watched:
        out, out_w = open_pipe(on_failure)
        err, err_w = open_pipe(on_failure)
        status, status_w = open_pipe(on_failure)
        info, info_w = open_pipe(on_failure)
        go, go_w = open_pipe(on_failure)
        given = [status_w, info_w, go]
        words = ["--json-status-fd", str(info_w), "--block-fd", str(go)]
        if seccomp.is_supported():
            policy = seccomp.Policy(
                loopback=confinement.has_loopback,
                pinned=bool(confinement.cores),
                sampled=self._groups is None,
            )
            filter_fd = _memfd(seccomp.assemble(policy), on_failure)
            words += ["--seccomp", str(filter_fd)]
            given.append(filter_fd)
        for text, target in _accounts():
            fd = _memfd(text.encode(), on_failure)
            words += ["--ro-bind-data", str(fd), target]
            given.append(fd)
        group = self._group(confinement)
        if group is not None:
            on_failure.callback(group.remove)
        argv = self._argv(confinement, words, status_w, has_group=group is not None)
        outer = SPAWNER.start(
            argv, pass_fds=given, stdout=out_w, stderr=err_w, cores=confinement.cores
        )
        on_failure.callback(end_process, outer)
        for fd in (out_w, err_w, *given):
            os.close(fd)
        try:
            first = _child_pid(info)
            if group is not None:
                group.add(first)
            tree = NamespaceTree(outer, first, group, info)
            os.write(go_w, b"1")
            held = _ready(status)
        except (OSError, ValueError, TimeoutError) as error:
            outer.kill()
            raise self._failed(outer, err, error) from error
        os.close(go_w)
        captures = (
            Capture(confinement.limits.output_bytes),
            Capture(confinement.limits.output_bytes),
        )
        channels = Channels(status, {out: captures[0].write, err: captures[1].write})
        writable = [mount.source for mount in confinement.mounts if mount.writable]
        on_failure.pop_all()
        return Watched(tree, channels, captures, confinement.limits, writable, held)

    def _group(self, confinement: Confinement) -> cgroups.Group | None:
        if self._groups is None:
            return None
        try:
            return self._groups.create(confinement.limits, n_own=1)
        except OSError as error:
            raise SandboxNotStarted(
                f"the kernel refused a control group for the sandbox: {error}.\n"
                "Its limits were promised, so nothing was started."
            ) from error

    def _failed(self, outer: subprocess.Popen[bytes], err: int, error: Exception) -> Exception:
        outer.wait(5)
        text = os.read(err, 8192).decode(errors="replace").strip()
        if "bwrap:" in text and ("amespace" in text or "ermission" in text or "permitted" in text):
            return SandboxUnavailable(explain(text))
        return SandboxNotStarted(f"bubblewrap did not start the process: {text or error}")

    def _argv(
        self, confinement: Confinement, words: list[str], status_fd: int, has_group: bool
    ) -> list[str]:
        argv = [self._executable, "--unshare-all", "--unshare-user", "--die-with-parent"]
        argv += ["--new-session", "--as-pid-1", "--clearenv", "--hostname", "novum"]
        argv += ["--uid", str(NOBODY), "--gid", str(NOBODY)]
        for key, value in (interpreter.environment() | dict(confinement.env)).items():
            argv += ["--setenv", key, value]
        argv += _system(confinement, "--size" in _help(self._executable))
        # what follows is mounted over the system, in this order
        argv += words
        for mount in confinement.mounts:
            argv += ["--bind" if mount.writable else "--ro-bind", *_pair(mount)]
        argv += _gpu_words(confinement)
        argv += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]
        argv += ["--", *interpreter.resolve(("python",)), "-I", "-S", "-B", f"{INSIDE}/init.py"]
        writable = ["/tmp", "/dev/shm"]
        writable += [str(mount.target) for mount in confinement.mounts if mount.writable]
        options = {
            "status_fd": status_fd,
            "cwd": confinement.cwd,
            "file_bytes": confinement.limits.file_bytes,
            "open_files": OPEN_FILES,
            "landlock": 1,
            "loopback": int(confinement.has_loopback),
            "gpu": int(bool(confinement.gpus)),
            "writable": "\n".join(writable),
            "drop_env": "PWD,LC_CTYPE",
        }
        if not has_group:
            options["pids"] = confinement.limits.pids + 1
        argv += [f"{key}={value}" for key, value in options.items()]
        return [*argv, "--", *interpreter.resolve(confinement.argv)]


def explain(message: str) -> str:
    """bwrap's own complaint, with what to do about it."""
    remedy = "Use the docker sandbox, or ask for `process` by name if you wrote the code yourself."
    if "setting up uid map" in message or "RTM_NEWADDR" in message or "ermission" in message:
        remedy = (
            "Unprivileged user namespaces are restricted here. Allow them (Ubuntu: `sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor profile for bwrap; "
            "Debian: `sysctl kernel.unprivileged_userns_clone=1`; in a container: a runtime "
            "profile that permits them). " + remedy
        )
    elif "No space left" in message or "max_user_namespaces" in message:
        remedy = "Raise `sysctl user.max_user_namespaces` above 0. " + remedy
    elif "Invalid argument" in message or "does not support" in message:
        remedy = "This kernel lacks a namespace that the sandbox needs. " + remedy
    return f"bubblewrap cannot make a sandbox here: {message.strip()}\n{remedy}"


def visible(host: Path, mounts: Sequence[Mount]) -> Path:
    """Where a host path lies inside; the innermost mount wins.

    Raises:
        ValueError: no mount shows it.
    """
    best: tuple[int, Path] | None = None
    for mount in mounts:
        if host == mount.source or mount.source in host.parents:
            depth = len(mount.source.parts)
            if best is None or depth > best[0]:
                best = depth, mount.target / host.relative_to(mount.source)
    if best is None:
        raise ValueError(f"{host} lies under none of the mounts")
    return best[1]


def _system(confinement: Confinement, has_size: bool) -> list[str]:
    size = ["--size", str(confinement.limits.file_bytes)] if has_size else []
    words: list[str] = []
    for name in interpreter.SYSTEM:
        if os.path.islink(name):
            words += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            words += ["--ro-bind", name, name]
    for name in (*interpreter.SYSTEM_FILES, "/sys/devices/system/cpu"):
        words += ["--ro-bind-try", name, name]
    words += ["--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", "/dev/shm"]
    for name in MASKED:
        if os.path.exists(f"/proc/{name}"):
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    words += ["--perms", "1777", *size, "--tmpfs", "/tmp"]
    for folder in interpreter.folders():
        words += ["--ro-bind", str(folder), str(folder)]
    for folder in interpreter.package_folders():
        words += ["--tmpfs", str(folder)]
    here = Path(__file__).parent
    for file in ("init.py", "landlock.py"):
        words += ["--ro-bind", str(here / file), f"{INSIDE}/{file}"]
    return words


def _gpu_words(confinement: Confinement) -> list[str]:
    if not confinement.gpus:
        return []
    chosen = gpus.choose(confinement.gpus, gpus.installed())
    words = ["--ro-bind", "/sys", "/sys"]
    for node in gpus.nodes(chosen):
        words += ["--dev-bind", str(node), str(node)]
    return [*words, "--setenv", "CUDA_VISIBLE_DEVICES", ",".join(gpu.uuid for gpu in chosen)]


def _accounts() -> Iterator[tuple[str, str]]:
    yield interpreter.PASSWD.format(uid=NOBODY, gid=NOBODY), "/etc/passwd"
    yield interpreter.GROUP.format(gid=NOBODY), "/etc/group"


def _pair(mount: Mount) -> tuple[str, str]:
    return str(mount.source), str(mount.target)


def _memfd(data: bytes, on_failure: contextlib.ExitStack) -> int:
    fd = os.memfd_create("novum", os.MFD_CLOEXEC)
    on_failure.callback(close_quietly, fd)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _child_pid(info: int) -> int:
    return int(json.loads(read_line(info, START_S).partition(b"\n")[0])["child-pid"])


def _ready(status: int) -> bytes:
    line, _, rest = read_line(status, START_S).partition(b"\n")
    if not line.startswith(b"ready"):
        raise ValueError(f"unexpected report {line!r}")
    return rest


@functools.cache
def _help(executable: str) -> str:
    try:
        done = subprocess.run([executable, "--help"], capture_output=True, text=True, timeout=10)
    except OSError:
        return ""
    return done.stdout + done.stderr
