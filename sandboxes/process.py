"""The process provider: bounds and accounts of a process tree, and no isolation.

A supervisor (`supervise.py`) is the parent of the program and adopts its orphans. The tree has a
clean environment, no standard input, no inherited descriptors and a session of its own; wall time,
memory, number of processes, size of files and output are bounded, by a control group where one may
be made and by sampling where not; what survives the program is found and killed.

It does not isolate. The program sees every file, process and network that its user sees, may
write wherever that user may, and may kill its supervisor (the trial is then lost, not passed). Use
it for code that you wrote or read yourself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from novum.errors import SandboxNotStarted, SandboxUnavailable
from novum.sandboxes import cgroups, gpus, interpreter
from novum.sandboxes.capture import Capture
from novum.sandboxes.descendants import SupervisedTree
from novum.sandboxes.protocol import Confinement, Mount, Promise, SandboxedProcess
from novum.sandboxes.spawner import SPAWNER
from novum.sandboxes.undo import end_process, open_pipe
from novum.sandboxes.watch import Channels, Watched, read_line

OPEN_FILES = 4096
_HOME = "novum-home-"
START_S = 20.0  # a loaded machine may take seconds for what takes 20 ms
_KEPT = frozenset(
    {
        Promise.CLEAN_ENVIRONMENT,
        Promise.NO_INHERITED_FDS,
        Promise.TIME_BOUNDED,
        Promise.MEMORY_BOUNDED,
        Promise.PROCESSES_BOUNDED,
        Promise.OUTPUT_BOUNDED,
        Promise.NO_SURVIVORS,
    }
)
_NEED_GROUPS = frozenset({Promise.MEMORY_BOUNDED, Promise.PROCESSES_BOUNDED})


class ProcessSandbox:
    """Run processes under a supervisor; see the module for what that gives and what it does not.

    `groups` are the control groups to use: those found on this machine unless given, `None` for
    none.
    """

    name = "process"

    def __init__(self, groups: cgroups.Groups | None | bool = True) -> None:
        self._groups = cgroups.find() if isinstance(groups, bool) else groups
        cgroups.sweep(self._groups)
        _sweep_homes()

    @property
    def layers(self) -> tuple[str, ...]:
        """What bounds the tree on this machine, for the record of a run."""
        if self._groups is None:
            return ("rlimits", "sampling")
        return ("rlimits", f"cgroup-v{self._groups.version}")

    @property
    def promises(self) -> frozenset[Promise]:
        """Bounds and accounts only: nothing is hidden from the program, nothing is closed to it.

        Without control groups, memory and processes are sampled and no promise is made of them:
        files that live in memory are nobody's, and what is quick is not seen.
        """
        return _KEPT if self._groups is not None else _KEPT - _NEED_GROUPS

    def check(self) -> None:
        """See `Sandbox.check`."""
        if sys.platform != "linux" or not os.path.isdir("/proc/self"):
            raise SandboxUnavailable(
                "The process sandbox needs Linux with /proc: it finds daemons as a child "
                "subreaper.\nOn other systems run Novum in a Linux container or virtual machine."
            )

    def start(self, confinement: Confinement) -> SandboxedProcess:
        """See `Sandbox.start`."""
        self.check()
        with contextlib.ExitStack() as on_failure:
            return self._start(confinement, on_failure)

    def visible(self, host: Path, mounts: Sequence[Mount]) -> Path:
        """The host path itself: nothing is mounted. See `Sandbox.visible`."""
        if not any(host == m.source or m.source in host.parents for m in mounts):
            raise ValueError(f"{host} lies under none of the mounts")
        return host

    def _start(self, confinement: Confinement, on_failure: contextlib.ExitStack) -> Watched:
        limits = confinement.limits
        home = Path(tempfile.mkdtemp(prefix=f"{_HOME}{os.getpid()}-"))
        on_failure.callback(shutil.rmtree, home, ignore_errors=True)
        group = self._group(confinement)
        if group is not None:
            on_failure.callback(group.remove)
        (out, out_w), (err, err_w), (status, status_w), (go, go_w) = (
            open_pipe(on_failure) for _ in range(4)
        )
        outer = SPAWNER.start(
            _argv(confinement, status_w, go),
            pass_fds=(status_w, go),
            stdout=out_w,
            stderr=err_w,
            cores=confinement.cores,
            env=_environment(confinement, home),
        )
        on_failure.callback(end_process, outer)
        for fd in (out_w, err_w, status_w, go):
            os.close(fd)
        try:
            if group is not None:
                group.add(outer.pid)
            held = read_line(status, START_S).partition(b"\n")[2]
            captures = Capture(limits.output_bytes), Capture(limits.output_bytes)
            tree = SupervisedTree(outer, group, home)
            os.write(go_w, b"1")
        except (OSError, ValueError, TimeoutError) as error:
            raise SandboxNotStarted(f"the supervisor did not start: {error}") from error
        os.close(go_w)
        channels = Channels(status, {out: captures[0].write, err: captures[1].write})
        writable = [home, *(mount.source for mount in confinement.mounts if mount.writable)]
        on_failure.pop_all()
        return Watched(tree, channels, captures, limits, writable, held)

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


def _argv(confinement: Confinement, status_fd: int, go_fd: int) -> list[str]:
    options = {
        "status_fd": status_fd,
        "go_fd": go_fd,
        "cwd": confinement.cwd,
        "file_bytes": confinement.limits.file_bytes,
        "open_files": OPEN_FILES,
        # the interpreter coerces a C locale and exports that; the program was not given it
        "drop_env": "" if "LC_CTYPE" in confinement.env else "LC_CTYPE",
    }
    script = str(Path(__file__).parent / "supervise.py")
    words = [f"{key}={value}" for key, value in options.items()]
    return [
        *(sys.executable, "-I", "-S", "-B", script, *words),
        *("--", *interpreter.resolve(confinement.argv)),
    ]


def _environment(confinement: Confinement, home: Path) -> dict[str, str]:
    added = interpreter.environment() | {"HOME": str(home), "TMPDIR": str(home)}
    if confinement.gpus or gpus.installed():
        added["CUDA_VISIBLE_DEVICES"] = ",".join(confinement.gpus)
    return added | dict(confinement.env)


def _sweep_homes() -> None:
    """Remove the homes that a killed harness of ours left behind."""
    for home in Path(tempfile.gettempdir()).glob(f"{_HOME}*-*"):
        owner = home.name.removeprefix(_HOME).split("-")[0]
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}") and not home.is_symlink():
            if home.stat().st_uid == os.geteuid():
                shutil.rmtree(home, ignore_errors=True)
