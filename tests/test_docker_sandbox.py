"""What is particular to Docker: its faults, its images, and containers without an owner."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from novum.errors import SandboxUnavailable, UsageError
from novum.sandboxes import Confinement, ExitCause, Limits, Mount, Promise
from novum.sandboxes.docker import LABEL, DockerSandbox, connect
from novum.sandboxes.image import build_full


@pytest.fixture(scope="module")
def sandbox() -> DockerSandbox:
    found = DockerSandbox()
    try:
        found.check()
    except SandboxUnavailable as error:
        pytest.skip(f"no Docker engine answers (scripts/docker-up.sh starts one): {error}")
    return found


def confine(code: str, *mounts: Mount) -> Confinement:
    argv = ("python", "-I", "-S", "-c", code)
    return Confinement(argv, Path("/tmp"), mounts, limits=Limits(wall_s=60, file_bytes=8 << 20))


def _identity(process: Any) -> str:
    return str(process._tree._identity)


def _is_running(client: Any, identity: str) -> bool:
    """Whether the container runs: one that another sweep removed does not."""
    try:
        return bool(client.api.inspect_container(identity)["State"]["Running"])
    except NotFound:
        return False


def test_an_engine_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    where = f"unix://{tmp_path}/docker.sock"
    with pytest.raises(SandboxUnavailable, match="not installed or not running") as caught:
        DockerSandbox(host=where).check()
    assert where in str(caught.value) and "bubblewrap" in str(caught.value)


def test_an_engine_that_is_down_is_told_from_one_that_is_absent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "docker.sock"))
    with pytest.raises(SandboxUnavailable, match="refused the connection"):
        DockerSandbox(host=f"unix://{tmp_path}/docker.sock").check()


def test_a_user_without_permission_is_told_what_to_join(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "docker.sock"))
        engine.listen(1)
        os.chmod(tmp_path / "docker.sock", 0o600)
        code = (
            "import os, sys, docker\n"
            "from novum.sandboxes.docker import DockerSandbox\n"
            "from novum.errors import SandboxUnavailable\n"
            "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
            "else: os.chmod(sys.argv[1], 0)\n"
            "try: DockerSandbox(host='unix://' + sys.argv[1]).check()\n"
            "except SandboxUnavailable as error: print(error)\n"
        )
        for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            folder.chmod(0o755)
        argv = [sys.executable, "-c", code, str(tmp_path / "docker.sock")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "may not speak to Docker" in done.stdout, done.stdout + done.stderr
    assert "usermod -aG docker" in done.stdout


@pytest.mark.docker
def test_a_container_killed_from_outside_is_lost_and_removed(sandbox: DockerSandbox) -> None:
    process = sandbox.start(confine("import time; time.sleep(60)"))
    identity = _identity(process)
    client = connect()
    try:
        client.api.kill(identity)
        ended = process.wait(30)
        assert ended is not None
        assert (ended.cause, ended.n_survivors) == (ExitCause.LOST, 0)
        assert identity not in [row["Id"] for row in client.api.containers(all=True)]
    finally:
        client.close()


@pytest.mark.docker
def test_a_container_removed_from_outside_is_lost(sandbox: DockerSandbox) -> None:
    process = sandbox.start(confine("import time; time.sleep(60)"))
    client = connect()
    try:
        client.api.remove_container(_identity(process), force=True)
    finally:
        client.close()
    ended = process.wait(30)
    assert ended is not None
    assert (ended.cause, ended.n_survivors) == (ExitCause.LOST, 0)


@pytest.mark.docker
def test_containers_of_a_dead_harness_end_and_are_swept(sandbox: DockerSandbox) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from novum.sandboxes import Confinement\n"
        "from novum.sandboxes.docker import DockerSandbox\n"
        "p = DockerSandbox().start(Confinement(('python', '-c', 'import time; time.sleep(300)'),"
        " Path('/tmp')))\n"
        "print(p._tree._identity, flush=True)\n"
        "sys.stdin.read()\n"
    )
    harness = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert harness.stdout is not None and harness.stdin is not None
    identity = harness.stdout.readline().strip()
    assert identity
    harness.kill()
    harness.wait()
    harness.stdin.close()
    harness.stdout.close()
    client = connect()
    try:
        until = time.monotonic() + 20  # its first process looks once a second
        while _is_running(client, identity):
            assert time.monotonic() < until, "the container runs on without its harness"
            time.sleep(0.1)
        sandbox.reap()  # tests beside this one sweep as well: no telling which call removes it
        while identity in [row["Id"] for row in client.api.containers(all=True)]:
            assert time.monotonic() < until + 20, "the container of a dead harness is left behind"
            time.sleep(0.1)  # somebody else's sweep is on it
    finally:
        client.close()


@pytest.mark.docker
def test_the_sweep_leaves_the_containers_of_the_living(sandbox: DockerSandbox) -> None:
    process = sandbox.start(confine("import time; time.sleep(2); print('whole')"))
    sandbox.reap()
    ended = process.wait(60)
    assert ended is not None
    assert (ended.cause, ended.stdout) == (ExitCause.EXITED, "whole\n")


@pytest.mark.docker
def test_the_container_is_closed_in_every_way_that_docker_can(sandbox: DockerSandbox) -> None:
    process = sandbox.start(confine("import time; time.sleep(60)"))
    client = connect()
    try:
        found = client.api.inspect_container(_identity(process))
    finally:
        client.close()
        process.kill()
        process.wait(60)
    host = found["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] and not host["Privileged"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert any("no-new-privileges" in option for option in host["SecurityOpt"])
    assert not any("unconfined" in option for option in host["SecurityOpt"])
    assert host["Memory"] == host["MemorySwap"] == Limits().memory_bytes
    assert host["PidsLimit"] == Limits().pids + 1
    assert host["IpcMode"] == "private" and host["PidMode"] == ""
    assert host["LogConfig"]["Type"] == "none"
    assert not found["Config"]["User"].startswith("0")
    assert LABEL in found["Config"]["Labels"]


@pytest.mark.docker
def test_a_path_with_a_colon_can_be_mounted(sandbox: DockerSandbox, tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.mkdir()
    (odd / "file").write_text("here")
    ended = sandbox.start(confine("print(open('/in/file').read())", Mount(odd, Path("/in")))).wait()
    assert ended is not None and ended.stdout == "here\n", ended


@pytest.mark.docker
@pytest.mark.slow
def test_an_image_of_a_local_system_needs_no_registry(
    sandbox: DockerSandbox, tmp_path: Path
) -> None:
    """The system here is the interpreter that runs the tests and the libraries it names."""
    client, name = connect(), f"novum-sandbox:test-{os.getpid()}"
    try:
        with pytest.raises(UsageError, match="no python3"):
            build_full(client, rootfs=tmp_path, name=name)
        _copy_interpreter(tmp_path)
        build_full(client, rootfs=tmp_path, name=name)
        full = DockerSandbox(name)
        assert full.promises == frozenset(Promise)
        ended = full.start(confine("import sys; print(sys.prefix)")).wait()
        assert ended is not None and ended.code == 0, ended
        assert ended.stdout.strip() == "/usr/local"
    finally:
        client.images.remove(name, force=True)
        client.close()


@pytest.mark.docker
def test_an_image_that_does_not_exist_is_refused_with_the_command(sandbox: DockerSandbox) -> None:
    with pytest.raises(SandboxUnavailable, match="novum sandbox build"):
        DockerSandbox("novum-sandbox:absent").start(confine("pass"))


def _copy_interpreter(root: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (root / "usr/local/bin").mkdir(parents=True)
    real = Path(sys.executable).resolve()
    shutil.copy(real, root / "usr/local/bin/python3")
    skipped = shutil.ignore_patterns("site-packages", "__pycache__", "test", "*.a", "dist-packages")
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, root / "usr/local/lib" / version, ignore=skipped)
    extensions = [str(p) for p in (library / "lib-dynload").glob("*.so")]
    listed = subprocess.run(["ldd", str(real), *extensions], capture_output=True, text=True)
    words = {word for line in listed.stdout.splitlines() for word in line.split()}
    for name in {word for word in words if word.startswith("/") and not word.endswith(":")}:
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    (root / "tmp").mkdir()
