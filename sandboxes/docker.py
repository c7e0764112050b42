"""The Docker provider: a container for each process, closed on every side that Docker can close.

No network, a read-only root, no capability, no new privileges, Docker's seccomp profile and our own
filter on top of it, limits of memory (no swap), processes, files and /tmp, a user that owns nothing
of the host, an init as process 1, devices only on request. The environment is scrubbed, the log
driver is off (output is read from the attached stream, bounded), and every container carries a
label by which leftovers of dead runs are found and removed.

It does not protect from faults of the kernel, of the engine or of the GPU driver. Whoever may speak
to the Docker socket is root on the machine: that includes the process that runs Novum.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.errors import SandboxNotStarted, SandboxUnavailable
from novum.sandboxes import gpus, image, interpreter, seccomp
from novum.sandboxes.bubblewrap import INSIDE, OPEN_FILES, START_S, visible
from novum.sandboxes.capture import Capture
from novum.sandboxes.container import ContainerTree, Demultiplexer, close_stream
from novum.sandboxes.grants import container_user, grant
from novum.sandboxes.protocol import Confinement, Mount, Promise, SandboxedProcess
from novum.sandboxes.watch import Channels, Watched, read_line

if TYPE_CHECKING:
    from docker import DockerClient

LABEL = "novum.sandbox"
TMPFS_OPTIONS = "rw,exec,nosuid,nodev,mode=1777"  # torch and triton load libraries they compiled
REMEDIES = {
    FileNotFoundError: "Docker has no socket at {where}: it is not installed or not running.\n"
    "Start it (`systemctl start docker`), set DOCKER_HOST, or use the bubblewrap sandbox.",
    ConnectionRefusedError: "Docker refused the connection on {where}: the daemon is not running."
    "\nStart it (`systemctl start docker`), or use the bubblewrap sandbox.",
    PermissionError: "You may not speak to Docker on {where}.\n"
    "Join its group (`usermod -aG docker $USER`, then log in again), run a rootless engine, or "
    "use the bubblewrap sandbox, which needs no daemon.",
}


class DockerSandbox:
    """Run processes in containers; see the module for what that gives."""

    name = "docker"

    def __init__(self, image_name: str = image.HOST, host: str | None = None) -> None:
        self._image_name = image_name
        self._host = host
        self._client: DockerClient | None = None
        self._info: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def layers(self) -> tuple[str, ...]:
        """The walls that stand on this machine, for the record of a run."""
        info = self._describe()
        options = [str(option) for option in info.get("SecurityOptions") or []]
        present = {
            "container": True,
            "read-only-system": True,
            "seccomp-engine": any("seccomp" in option for option in options),
            "seccomp": seccomp.is_supported(),
            "apparmor": any("apparmor" in option for option in options),
            "user-namespace": any("userns" in o or "rootless" in o for o in options),
            f"cgroup-v{info.get('CgroupVersion', '?')}": bool(info.get("MemoryLimit")),
        }
        return tuple(name for name, is_here in present.items() if is_here)

    @property
    def promises(self) -> frozenset[Promise]:
        """All of them, less what the engine says it cannot enforce."""
        info = self._describe()
        missing = set()
        if not info.get("MemoryLimit"):
            missing.add(Promise.MEMORY_BOUNDED)
        if not info.get("PidsLimit"):
            missing.add(Promise.PROCESSES_BOUNDED)
        return frozenset(Promise) - missing

    def check(self) -> None:
        """See `Sandbox.check`."""
        self._connect()

    def start(self, confinement: Confinement) -> SandboxedProcess:
        """See `Sandbox.start`."""
        import docker.errors
        import requests

        client = self._connect()
        with contextlib.ExitStack() as on_failure:
            try:
                return self._start(client, confinement, on_failure)
            except (docker.errors.APIError, requests.RequestException) as error:
                raise SandboxNotStarted(f"Docker did not start the container: {error}") from error

    def visible(self, host: Path, mounts: Sequence[Mount]) -> Path:
        """See `Sandbox.visible`."""
        return visible(host, mounts)

    def reap(self) -> int:
        """Remove containers whose owner is no longer alive; returns how many."""
        client, n_removed = self._connect(), 0
        for row in client.api.containers(all=True, filters={"label": LABEL}):
            boot, _, owner = row["Labels"][LABEL].partition(":")
            if boot != _boot_id() or not _is_running(owner):
                with contextlib.suppress(Exception):  # somebody else was quicker
                    client.api.remove_container(row["Id"], force=True, v=True)
                    n_removed += 1
        return n_removed

    def _start(
        self, client: DockerClient, confinement: Confinement, on_failure: contextlib.ExitStack
    ) -> Watched:
        facts = self._image(client)
        scratch = Path(tempfile.mkdtemp(prefix="novum-docker-"))
        on_failure.callback(shutil.rmtree, scratch, ignore_errors=True)
        shared = scratch / "inside"  # its parent is closed to other users of the host
        shared.mkdir(mode=0o755)
        for name in ("init.py", "landlock.py"):
            shutil.copy(Path(__file__).parent / name, shared)
        uid, gid = container_user()
        grant(confinement.mounts, uid, gid)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(shared / "status"))
            os.chmod(shared / "status", 0o666)
            listener.listen(1)
            listener.settimeout(START_S)
            body = _body(client, confinement, facts, shared)
            identity = client.api.create_container_from_config(body)["Id"]
            on_failure.callback(_remove, client, identity)
            stream = client.api.attach_socket(
                identity, params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
            )
            on_failure.callback(close_stream, stream)
            output = os.dup(stream.fileno())
            on_failure.callback(os.close, output)
            client.api.start(identity)
            try:
                connection, _ = listener.accept()
            except TimeoutError as error:
                raise _not_started(output) from error
        (shared / "status").unlink()
        status = connection.detach()
        on_failure.callback(os.close, status)
        os.set_blocking(status, True)
        try:
            held = read_line(status, START_S).partition(b"\n")[2]
        except (ValueError, TimeoutError) as error:
            raise _not_started(output) from error
        n_kept = confinement.limits.output_bytes
        captures = Capture(n_kept), Capture(n_kept)
        channels = Channels(status, {output: Demultiplexer(captures).write})
        tree = ContainerTree(client, identity, scratch, stream)
        writable = [mount.source for mount in confinement.mounts if mount.writable]
        on_failure.pop_all()
        return Watched(tree, channels, captures, confinement.limits, writable, held)

    def _image(self, client: DockerClient) -> image.ImageFacts:
        with self._lock:
            if found := image.facts(client, self._image_name):
                return found
            if self._image_name == image.HOST:
                return image.build_host(client)
        raise SandboxUnavailable(
            f"Docker has no image {self._image_name}.\nBuild it: `novum sandbox build --help`."
        )

    def _connect(self) -> DockerClient:
        with self._lock:
            if self._client is not None:
                return self._client
            client = connect(self._host)
            self._info = client.info()
            weakref.finalize(self, client.close)
            self._client = client
        with contextlib.suppress(Exception):  # leftovers are no reason not to start
            self.reap()
        return client

    def _describe(self) -> dict[str, Any]:
        self._connect()
        return self._info


def _not_started(output: int) -> SandboxNotStarted:
    return SandboxNotStarted(f"the container did not start: {_last_words(output)}")


def connect(host: str | None = None) -> DockerClient:
    """A client of the engine that answers at `host`, `DOCKER_HOST` or the usual socket.

    Raises:
        SandboxUnavailable: none answers, or we may not speak to it; the message says what to do.
    """
    try:
        import docker
    except ImportError as error:
        raise SandboxUnavailable(
            "Docker's Python library is not installed here.\n"
            "Install it (pip install docker), or use the bubblewrap sandbox."
        ) from error
    where = host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        _knock(where)
        client = docker.DockerClient(base_url=where, timeout=60, version="auto")
        client.ping()
    except Exception as error:
        raise SandboxUnavailable(_remedy(error, where)) from error
    return client


def _body(
    client: DockerClient, confinement: Confinement, facts: image.ImageFacts, shared: Path
) -> dict[str, Any]:
    """The request that creates the container, in the engine's own words."""
    import docker.types
    from docker.types import Ulimit

    limits, (uid, gid) = confinement.limits, container_user()
    mounts = [Mount(shared, Path(INSIDE)), *confinement.mounts]
    if facts.is_host:
        mounts += [Mount(Path(path), Path(path)) for path in _host_paths()]
    tmpfs = {"/tmp": f"{TMPFS_OPTIONS},size={limits.file_bytes}"}
    if facts.is_host:
        tmpfs |= {str(p): "ro,nosuid,nodev,size=4k" for p in interpreter.package_folders()}
    host = client.api.create_host_config(
        mounts=[
            docker.types.Mount(str(m.target), str(m.source), type="bind", read_only=not m.writable)
            for m in mounts
        ],
        tmpfs=tmpfs,
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        mem_limit=limits.memory_bytes,
        memswap_limit=limits.memory_bytes,
        pids_limit=limits.pids + 1,
        ipc_mode="private",
        shm_size=limits.file_bytes,
        cpuset_cpus=",".join(str(core) for core in confinement.cores) or None,
        ulimits=[
            Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES),
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(name="fsize", soft=limits.file_bytes, hard=limits.file_bytes),
        ],
        log_config={"Type": "none", "Config": {}},
        oom_score_adj=900,
        **_gpu_options(confinement, facts),
    )
    environment = _environment(confinement, facts)
    return dict(
        client.api.create_container_config(
            image=facts.id,
            command=_command(confinement, facts),
            user=f"{uid}:{gid}",
            environment=environment,
            working_dir="/",
            hostname="novum",
            entrypoint=[],
            labels={LABEL: f"{_boot_id()}:{_owner()}"},
            host_config=host,
            detach=True,
        )
    )


def _environment(confinement: Confinement, facts: image.ImageFacts) -> dict[str, str]:
    own = interpreter.environment()
    if not facts.is_host:
        own["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    return own | dict(confinement.env)


def _command(confinement: Confinement, facts: image.ImageFacts) -> list[str]:
    is_python = bool(confinement.argv) and confinement.argv[0] == "python"
    python = interpreter.resolve(("python",))[0] if facts.is_host else "python3"
    argv = (python, *confinement.argv[1:]) if is_python else confinement.argv
    writable = ["/tmp", "/dev/shm", *(str(m.target) for m in confinement.mounts if m.writable)]
    own = _environment(confinement, facts)
    dropped = {"HOSTNAME", "PWD", "LC_CTYPE", "PYTHONDONTWRITEBYTECODE"} - set(own)
    options = {
        "status_socket": f"{INSIDE}/status",
        "cwd": confinement.cwd,
        "file_bytes": confinement.limits.file_bytes,
        "open_files": OPEN_FILES,
        "landlock": 1,
        "loopback": int(confinement.has_loopback),
        "gpu": int(bool(confinement.gpus)),
        "writable": "\n".join(writable),
        "drop_env": ",".join(sorted(dropped)),
    }
    if seccomp.is_supported():
        policy = seccomp.Policy(confinement.has_loopback, bool(confinement.cores))
        options["seccomp"] = seccomp.assemble(policy).hex()
    words = [f"{key}={value}" for key, value in options.items()]
    return [python, "-I", "-S", "-B", f"{INSIDE}/init.py", *words, "--", *argv]


def _gpu_options(confinement: Confinement, facts: image.ImageFacts) -> dict[str, Any]:
    """With the host's libraries bound, device nodes are enough; a full image needs the toolkit."""
    if not confinement.gpus:
        return {}
    if facts.is_host:
        chosen = gpus.choose(confinement.gpus, gpus.installed())
        return {"devices": [f"{node}:{node}:rw" for node in gpus.nodes(chosen)]}
    from docker.types import DeviceRequest

    request = DeviceRequest(
        driver="nvidia",
        device_ids=list(confinement.gpus),
        capabilities=[["compute", "utility"]],
    )
    return {"device_requests": [request]}


def _host_paths() -> list[str]:
    folders = [p for p in interpreter.SYSTEM if os.path.isdir(p) and not os.path.islink(p)]
    files = [p for p in interpreter.SYSTEM_FILES if os.path.exists(p)]
    return [*folders, *files, *(str(folder) for folder in interpreter.folders())]


def _remedy(error: BaseException, where: str) -> str:
    seen: BaseException | None = error
    while seen is not None:
        for kind, text in REMEDIES.items():
            if isinstance(seen, kind) or kind.__name__ in repr(seen):
                return text.format(where=where)
        seen = seen.__cause__ or seen.__context__
    return (
        f"Docker did not answer on {where}: {error}.\n"
        "Look at `docker info`, or use the bubblewrap sandbox."
    )


def _knock(where: str) -> None:
    """Connect once ourselves: docker-py leaks its socket where nobody answers."""
    if where.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(START_S)
            probe.connect(where.removeprefix("unix://"))


def _last_words(output: int) -> str:
    captures = Capture(4096), Capture(4096)
    os.set_blocking(output, False)
    with contextlib.suppress(OSError):
        Demultiplexer(captures).write(os.read(output, 8192))
    return (captures[1].text() + captures[0].text()).strip() or "it said nothing"


def _remove(client: DockerClient, identity: str) -> None:
    with contextlib.suppress(Exception):  # cleaning up after an error that is on its way
        client.api.remove_container(identity, force=True, v=True)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _owner() -> str:
    return f"{os.getpid()}-{_started(os.getpid())}"


def _is_running(owner: str) -> bool:
    pid, _, started = owner.partition("-")
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """Start time of a process in ticks since boot: with the pid, a name that is never reused."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""
