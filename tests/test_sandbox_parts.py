"""The parts that the isolating sandboxes are made of, each by itself."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from novum.errors import SandboxUnavailable
from novum.sandboxes import Limits, Mount, cgroups, disk, gpus, grants, interpreter, landlock
from novum.sandboxes.capture import Capture
from novum.sandboxes.container import Demultiplexer
from novum.sandboxes.spawner import Spawner
from novum.sandboxes.watch import read_line


def test_a_capture_keeps_everything_up_to_its_limit() -> None:
    capture = Capture(10)
    for piece in (b"abc", b"defg", b"hij"):
        capture.write(piece)
    assert (capture.text(), capture.truncated) == ("abcdefghij", False)


def test_a_capture_keeps_head_and_tail_and_counts_what_it_cut() -> None:
    capture = Capture(8)
    for _ in range(1000):
        capture.write(b"0123456789")
    assert capture.truncated
    assert capture.text() == "0123\n[... 9992 bytes cut here ...]\n6789"


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
def test_the_streams_of_a_container_part_wherever_they_are_cut(size: int) -> None:
    frames = [(1, b"out"), (2, b"error"), (1, b""), (1, b"more" * 10)]
    wire = b"".join(
        bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for kind, data in frames
    )
    captures = Capture(100), Capture(100)
    demultiplexer = Demultiplexer(captures)
    for start in range(0, len(wire), size):
        demultiplexer.write(wire[start : start + size])
    assert captures[0].text() == "out" + "more" * 10
    assert captures[1].text() == "error"


def _fake_v2(root: Path, controllers: str = "cpu memory pids") -> Path:
    own = root / "user.slice" / "novum.scope"
    own.mkdir(parents=True)
    for folder in (root, own.parent, own):
        (folder / "cgroup.controllers").write_text(controllers)
        (folder / "cgroup.subtree_control").write_text("")
        (folder / "cgroup.procs").write_text("")
    (own / "cgroup.subtree_control").write_text(controllers)
    membership = root / "membership"
    membership.write_text("0::/user.slice/novum.scope\n")
    return membership


def test_a_delegated_group_gets_the_limits(tmp_path: Path) -> None:
    groups = cgroups.find(tmp_path, _fake_v2(tmp_path))
    assert isinstance(groups, cgroups.V2Groups)
    group = groups.create(Limits(memory_bytes=1 << 20, pids=7), n_own=1)
    assert isinstance(group, cgroups.V2Group)
    assert (group.folder / "memory.max").read_text() == str(1 << 20)
    assert (group.folder / "pids.max").read_text() == "8"
    (group.folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (group.folder / "memory.stat").write_text("anon 4096\nfile 99999\nshmem 100\n")
    (group.folder / "memory.events").write_text("max 3\noom_kill 2\n")
    (group.folder / "cgroup.procs").write_text("12\n13\n")
    assert group.cpu_s() == 1.5
    assert group.resident_bytes() == 4196
    assert group.n_oom_kills() == 2
    assert group.pids() == [12, 13]


def test_a_group_without_the_controllers_is_no_group(tmp_path: Path) -> None:
    assert cgroups.find(tmp_path, _fake_v2(tmp_path, "hugetlb")) is None


def test_control_groups_that_may_not_be_written_are_not_found(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        membership = tmp_path / "membership"
        membership.write_text("4:memory:/x\n5:pids:/x\n6:cpuacct:/x\n0::/\n")
        assert cgroups.find(tmp_path / "nothing", membership) is None
        return
    membership = _fake_v2(tmp_path)
    for folder in (tmp_path, tmp_path / "user.slice", tmp_path / "user.slice" / "novum.scope"):
        (folder / "cgroup.procs").chmod(0o444)
    assert cgroups.find(tmp_path, membership) is None


def test_writable_folders_are_weighed_by_what_lies_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 30)
    assert disk.excess([tmp_path], 1 << 20) is None
    (tmp_path / "real").write_bytes(b"x" * (2 << 20))
    assert "more than" in (disk.excess([tmp_path], 1 << 20) or "")


def test_folders_too_deep_to_look_into_count_as_excess(tmp_path: Path) -> None:
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(60):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
    finally:
        os.chdir(before)
    assert "deeper" in (disk.excess([tmp_path], 1 << 30) or "")


def test_gpus_are_chosen_by_index_or_uuid_and_bring_only_their_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bus, minor, uuid in (("b", 1, "GPU-bb"), ("a", 0, "GPU-aa")):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        (tmp_path / "gpus" / bus / "information").write_text(
            f"Model: \t\t H100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
        )
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    present = gpus.installed(tmp_path / "gpus")
    chosen = gpus.choose(("GPU-bb",), present)
    assert chosen == gpus.choose(("1",), present)
    names = [path.name for path in gpus.nodes(chosen, tmp_path)]
    assert names == ["nvidia1", "nvidiactl", "nvidia-uvm"]
    with pytest.raises(SandboxUnavailable, match="GPU 7 was asked for and the driver lists 2"):
        gpus.choose(("7",), present)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.visible(tmp_path / "gpus") == present
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"1, {present[0].uuid}")
    assert gpus.visible(tmp_path / "gpus") == (present[1], present[0])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.visible(tmp_path / "gpus") == ()


def test_where_the_driver_describes_nothing_the_device_nodes_name_the_gpus(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    present = gpus.installed(tmp_path / "missing", tmp_path, str(tmp_path / "no nvidia-smi"))
    assert [(gpu.uuid, gpu.minor) for gpu in present] == [("0", 0), ("1", 2), ("2", 10)]
    assert gpus.nodes(gpus.choose(["1"], present), tmp_path)[0] == tmp_path / "nvidia2"


def test_where_the_driver_describes_nothing_nvidia_smi_names_the_gpus(tmp_path: Path) -> None:
    program = tmp_path / "smi"
    program.write_text("#!/bin/sh\necho '0, GPU-one'\necho '1, GPU-two'\n")
    program.chmod(0o755)
    missing, dev = tmp_path / "missing", tmp_path / "dev"
    dev.mkdir()
    present = gpus.installed(missing, dev, str(program))  # a container that shows no node
    assert [(gpu.uuid, gpu.minor) for gpu in present] == [("GPU-one", 0), ("GPU-two", 1)]
    for name in ("nvidia3", "nvidia5"):
        (dev / name).touch()
    present = gpus.installed(missing, dev, str(program))
    assert [(gpu.uuid, gpu.minor) for gpu in present] == [("GPU-one", 3), ("GPU-two", 5)]
    (dev / "nvidia7").touch()  # one that it does not list
    assert [gpu.uuid for gpu in gpus.installed(missing, dev, str(program))] == ["0", "1", "2"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away; run the tests as root")
def test_mounts_are_opened_to_the_user_of_a_container_and_to_nobody_else(tmp_path: Path) -> None:
    read, write = tmp_path / "read", tmp_path / "write"
    for folder in (read, write):
        folder.mkdir(mode=0o700)
        (folder / "file").write_text("x")
        (folder / "file").chmod(0o600)
    (write / "link").symlink_to("/etc/passwd")
    owner = os.stat("/etc/passwd").st_uid
    grants.grant((Mount(read, read), Mount(write, write, True)), 64365, 64365)
    assert stat.S_IMODE(read.stat().st_mode) == 0o750
    assert stat.S_IMODE((read / "file").stat().st_mode) == 0o640
    assert ((read / "file").stat().st_uid, (read / "file").stat().st_gid) == (0, 64365)
    assert (write / "file").stat().st_uid == 64365
    assert os.stat("/etc/passwd").st_uid == owner


def test_the_interpreter_is_covered_and_no_home_is() -> None:
    folders = [*interpreter.folders(), *(Path(p) for p in interpreter.SYSTEM)]
    for needed in (sys.executable, os.__file__, pytest.__file__):
        real = Path(needed).resolve()
        assert any(folder in real.parents for folder in folders), needed
    assert Path.home() not in folders
    assert interpreter.resolve(("python", "-V"))[0] == sys.executable
    assert interpreter.resolve(("ls",)) == ("ls",)


def test_landlock_says_which_version_the_kernel_has() -> None:
    assert 0 <= landlock.abi() < 100


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    spawner = Spawner()
    started = []
    code = (
        "import ctypes, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0);"
        "print('up', flush=True); sys.stdin.read(); import time; time.sleep(0.3); print('done')"
    )
    read, write = os.pipe()

    def ask() -> None:
        argv = [sys.executable, "-I", "-S", "-c", code]
        started.append(spawner.start(argv, pass_fds=(), stdout=write, stderr=write))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    os.close(write)
    assert read_line(read, 120).startswith(b"up")
    assert started[0].wait(120) == 0
    assert os.read(read, 100).endswith(b"done\n")
    os.close(read)
