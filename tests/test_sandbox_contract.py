"""What every sandbox provider owes its caller; a new provider is tested by being registered."""

from __future__ import annotations

import os
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from novum.errors import SandboxUnavailable, UnknownName
from novum.sandboxes import (
    Confinement,
    Exit,
    ExitCause,
    Limits,
    Mount,
    Promise,
    Sandbox,
    watch,
)
from novum.sandboxes.bubblewrap import BubblewrapSandbox
from novum.sandboxes.process import ProcessSandbox
from novum.sandboxes.registry import ISOLATING, PROVIDERS, find_sandbox

DEFAULT = Limits(wall_s=30, memory_bytes=512 << 20, pids=32, file_bytes=8 << 20)

Run = Callable[..., Exit]


WITHOUT_GROUPS: dict[str, Callable[[], Sandbox]] = {
    "process-without-groups": lambda: ProcessSandbox(groups=None),
    "bubblewrap-without-groups": lambda: BubblewrapSandbox(groups=None),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.docker] if name == "docker" else [])
        for name in (*PROVIDERS, *WITHOUT_GROUPS)
    ],
)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    try:
        if request.param in WITHOUT_GROUPS:
            bare = WITHOUT_GROUPS[request.param]()
            bare.check()
            return bare
        return find_sandbox(request.param)
    except SandboxUnavailable as error:
        pytest.skip(f"{request.param} cannot run here: {error}")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "data.txt").write_text("given")
    return tmp_path


@pytest.fixture
def mounts(work: Path) -> tuple[Mount, ...]:
    return (
        Mount(work / "in", Path("/trial/in")),
        Mount(work / "out", Path("/trial/out"), writable=True),
    )


@pytest.fixture
def confine(sandbox: Sandbox, work: Path, mounts: tuple[Mount, ...]) -> Callable[..., Confinement]:
    def make(code: str, limits: Limits = DEFAULT, **more: object) -> Confinement:
        argv = ("python", "-I", "-S", "-c", textwrap.dedent(code))
        cwd = sandbox.visible(work / "out", mounts)
        return Confinement(argv, cwd, mounts, limits=limits, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture
def run(sandbox: Sandbox, confine: Callable[..., Confinement]) -> Run:
    def go(code: str, limits: Limits = DEFAULT, **more: object) -> Exit:
        ended = sandbox.start(confine(code, limits, **more)).wait(60)
        assert ended is not None
        assert ended.n_survivors == 0
        return ended

    return go


def _require(sandbox: Sandbox, promise: Promise) -> None:
    if promise not in sandbox.promises:
        pytest.skip(f"{sandbox.name} does not promise {promise} here")


def _processes_with(word: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(
                word in part for part in process.cmdline()
            ):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_output_and_code_of_a_program_come_back(run: Run) -> None:
    ended = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (ended.cause, ended.code) == (ExitCause.EXITED, 3)
    assert (ended.stdout, ended.stderr, ended.truncated) == ("out\n", "err\n", False)


def test_a_death_by_signal_is_told_from_an_exit(run: Run) -> None:
    ended = run("import os; os.kill(os.getpid(), 11) or os.abort()")
    assert ended.cause in (ExitCause.SIGNALLED, ExitCause.EXITED)
    ended = run("import os; os.abort()")
    assert (ended.cause, ended.code) == (ExitCause.SIGNALLED, -6)


def test_a_program_that_does_not_exist_is_a_result(
    sandbox: Sandbox, work: Path, mounts: tuple[Mount, ...]
) -> None:
    cwd = sandbox.visible(work / "out", mounts)
    ended = sandbox.start(Confinement(("no-such-program",), cwd, mounts)).wait(60)
    assert ended is not None
    assert (ended.cause, ended.code) == (ExitCause.EXITED, 127)
    assert "no-such-program" in ended.stderr


def test_mounted_files_are_where_visible_says(
    run: Run, sandbox: Sandbox, work: Path, mounts: tuple[Mount, ...]
) -> None:
    source = sandbox.visible(work / "in" / "data.txt", mounts)
    target = sandbox.visible(work / "out" / "copy.txt", mounts)
    ended = run(f"open({str(target)!r}, 'w').write(open({str(source)!r}).read())")
    assert ended.code == 0, ended.stderr
    assert (work / "out" / "copy.txt").read_text() == "given"
    with pytest.raises(ValueError, match="none of the mounts"):
        sandbox.visible(work.parent, mounts)


def test_a_deadline_kills_and_is_called_a_timeout(run: Run) -> None:
    ended = run("import time\ntime.sleep(60)", Limits(wall_s=0.5))
    assert ended.cause is ExitCause.TIMEOUT
    assert 0.4 < ended.wall_s < 50


def test_a_program_that_ignores_signals_is_killed_when_told(
    sandbox: Sandbox, confine: Callable[..., Confinement]
) -> None:
    process = sandbox.start(
        confine("import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)")
    )
    assert process.is_running
    assert process.wait(0.2) is None
    process.kill()
    process.kill()
    ended = process.wait(120)
    assert ended is not None
    assert (ended.cause, ended.n_survivors) == (ExitCause.KILLED, 0)
    assert not process.is_running


def test_a_kill_right_after_the_start_is_not_too_early(
    sandbox: Sandbox, confine: Callable[..., Confinement], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "DEATH_S", 250.0)
    for _ in range(3):
        process = sandbox.start(confine("import time\ntime.sleep(60)"))
        process.kill()
        ended = process.wait(80)  # less than the watcher waits for a tree that will not die
        assert ended is not None
        assert (ended.cause, ended.n_survivors) == (ExitCause.KILLED, 0)


def test_the_environment_is_what_was_given(
    run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    _require(sandbox, Promise.CLEAN_ENVIRONMENT)
    monkeypatch.setenv("NOVUM_TEST_SECRET", "s3cret")
    ended = run("import os; print(sorted(os.environ))", env={"GIVEN": "1"})
    names = set(eval(ended.stdout))  # a list of strings that we printed
    assert {"GIVEN", "PATH", "HOME", "TMPDIR"} <= names
    allowed = {"GIVEN", "PATH", "HOME", "TMPDIR", "LC_CTYPE", "HOSTNAME", "CUDA_VISIBLE_DEVICES"}
    assert names <= allowed


def test_standard_input_is_empty_and_descriptors_are_not_inherited(
    run: Run, sandbox: Sandbox, work: Path
) -> None:
    _require(sandbox, Promise.NO_INHERITED_FDS)
    with open(work / "secret", "w") as file:
        os.set_inheritable(file.fileno(), True)
        ended = run(
            """
            import os, sys
            assert sys.stdin.read() == ''
            print([fd for fd in range(3, 256) if os.path.exists(f'/proc/self/fd/{fd}')])
            """
        )
    assert ended.code == 0, ended.stderr
    assert ended.stdout == "[]\n"


def test_a_gigabyte_of_output_is_cut_to_head_and_tail(run: Run, sandbox: Sandbox) -> None:
    _require(sandbox, Promise.OUTPUT_BOUNDED)
    ended = run(
        """
        import os
        os.write(1, b'first ')
        for _ in range(1024):
            os.write(1, bytes(1 << 20))
        os.write(1, b' last')
        """,
        Limits(wall_s=60, output_bytes=1000),
    )
    assert ended.code == 0, ended.stderr
    assert ended.truncated
    assert ended.stdout.startswith("first ") and ended.stdout.endswith(" last")
    assert len(ended.stdout) < 1200


def test_a_daemon_that_holds_the_output_neither_survives_nor_delays(
    run: Run, sandbox: Sandbox
) -> None:
    _require(sandbox, Promise.NO_SURVIVORS)
    mark = f"novum-daemon-{os.getpid()}-{time.monotonic_ns()}"
    ended = run(
        f"""
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(300)',
                         '{mark}'])
            os._exit(0)
        time.sleep(0.3)
        print('done')
        """
    )
    assert ended.stdout == "done\n"
    assert ended.wall_s < 50
    assert _processes_with(mark) == []


def test_a_fork_bomb_is_bounded(run: Run, sandbox: Sandbox) -> None:
    _require(sandbox, Promise.PROCESSES_BOUNDED)
    ended = run(
        """
        import os, time
        n = 0
        try:
            while n < 300:
                if os.fork() == 0:
                    time.sleep(20)
                    os._exit(0)
                n += 1
            time.sleep(2)
        except OSError:
            pass
        print(n)
        """,
        Limits(wall_s=20, pids=24),
    )
    assert ended.cause is ExitCause.KILLED or int(ended.stdout) <= 24


def test_memory_is_bounded_over_the_whole_tree(run: Run, sandbox: Sandbox) -> None:
    _require(sandbox, Promise.MEMORY_BOUNDED)
    ended = run(
        """
        import os, time
        for _ in range(3):
            if os.fork() == 0:
                break
        kept = bytearray(b'x' * (100 << 20))
        time.sleep(20)
        """,
        Limits(wall_s=20, memory_bytes=200 << 20),
    )
    assert ended.cause is ExitCause.OUT_OF_MEMORY
    assert ended.peak_bytes > 100 << 20


def test_peak_memory_and_cpu_time_cover_children_that_are_gone(run: Run) -> None:
    ended = run(
        """
        import os, time
        child = os.fork()
        if child == 0:
            kept = bytearray(b'x' * (80 << 20))
            while time.process_time() < 0.5:
                pass
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    assert ended.code == 0, ended.stderr
    assert 0.45 < ended.cpu_s < 1.5
    assert ended.peak_bytes > 70 << 20


def test_cpu_time_can_be_read_while_the_program_runs(
    sandbox: Sandbox, confine: Callable[..., Confinement]
) -> None:
    process = sandbox.start(confine("while True: pass"))
    until = time.monotonic() + 120
    while process.cpu_s() < 0.3 and time.monotonic() < until:
        time.sleep(0.02)
    assert process.cpu_s() >= 0.3
    process.kill()
    ended = process.wait(120)
    assert ended is not None
    assert ended.cpu_s >= 0.3


def test_a_single_file_cannot_outgrow_its_limit(run: Run, work: Path) -> None:
    ended = run("open('big', 'wb').write(bytes(32 << 20))")
    assert ended.code != 0
    assert (work / "out" / "big").stat().st_size <= DEFAULT.file_bytes


def test_writable_folders_together_cannot_outgrow_their_limit(run: Run) -> None:
    ended = run(
        """
        import time
        for i in range(40):
            with open(f'file{i}', 'wb') as file:
                file.write(bytes(4 << 20))
            time.sleep(0.05)
        time.sleep(20)
        """,
        Limits(wall_s=20, disk_bytes=32 << 20),
    )
    assert ended.cause is ExitCause.KILLED
    assert "writable folders" in ended.stderr


def test_the_program_runs_on_the_cores_it_was_given(run: Run) -> None:
    core = max(os.sched_getaffinity(0))
    ended = run("import os; print(os.sched_getaffinity(0))", cores=(core,))
    assert ended.stdout == f"{{{core}}}\n"


def test_read_only_mounts_and_the_host_cannot_be_written(
    run: Run, sandbox: Sandbox, work: Path, mounts: tuple[Mount, ...]
) -> None:
    _require(sandbox, Promise.WRITES_CONFINED)
    given = sandbox.visible(work / "in" / "data.txt", mounts)
    ended = run(
        f"""
        for path in ({str(given)!r}, {str(work / "host.txt")!r}, '/usr/novum-test'):
            try:
                open(path, 'w').write('x')
                print('wrote', path)
            except OSError:
                pass
        """
    )
    assert ended.stdout == ""
    assert (work / "in" / "data.txt").read_text() == "given"


def test_what_is_not_mounted_cannot_be_read(run: Run, sandbox: Sandbox, work: Path) -> None:
    _require(sandbox, Promise.SECRETS_UNREADABLE)
    (work / "secret.txt").write_text("held-out")
    ended = run(f"print(open({str(work / 'secret.txt')!r}).read())")
    assert ended.code == 1
    assert "held-out" not in ended.stdout


def test_other_processes_are_not_visible(run: Run, sandbox: Sandbox) -> None:
    _require(sandbox, Promise.PROCESSES_HIDDEN)
    ended = run("import os; print(len([n for n in os.listdir('/proc') if n.isdigit()]))")
    assert int(ended.stdout) <= 3


def test_the_network_is_out_of_reach_but_a_mounted_socket_is_not(
    run: Run, sandbox: Sandbox, work: Path, mounts: tuple[Mount, ...]
) -> None:
    path = work / "in" / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        os.chmod(path, 0o666)
        listener.listen(1)
        listener.settimeout(30)
        answered: list[bytes] = []

        def serve() -> None:
            with listener.accept()[0] as connection:
                read, write = os.pipe()
                os.write(write, b"through a descriptor")
                os.close(write)
                socket.send_fds(connection, [b"here"], [read])
                os.close(read)
                answered.append(connection.recv(100))

        thread = threading.Thread(target=serve)
        thread.start()
        ended = run(
            f"""
            import os, socket
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect({str(sandbox.visible(path, mounts))!r})
            word, fds, _, _ = socket.recv_fds(s, 100, 4)
            print(word.decode(), os.read(fds[0], 100).decode())
            s.send(b'thanks')
            """
        )
        thread.join(30)
    assert ended.stdout == "here through a descriptor\n", ended.stderr
    assert answered == [b"thanks"]
    if Promise.NO_NETWORK not in sandbox.promises:
        return
    with socket.socket() as host:
        host.bind(("127.0.0.1", 0))
        host.listen(1)
        port = host.getsockname()[1]
        ended = run(
            f"""
            import socket
            try:
                socket.create_connection(('127.0.0.1', {port}), 2)
                print('reached')
            except OSError:
                print('refused')
            """
        )
    assert ended.stdout == "refused\n"


def test_whoever_kills_the_supervisor_loses_the_trial_and_leaves_nothing() -> None:
    for groups in (True, None):
        mark = f"novum-killer-{os.getpid()}-{time.monotonic_ns()}"
        code = textwrap.dedent(
            f"""
            import os, subprocess, sys, time
            child = [sys.executable, '-c', 'import time; time.sleep(300)', '{mark}']
            subprocess.Popen(child, start_new_session=True)
            time.sleep(0.3)
            os.kill(os.getppid(), 9)
            time.sleep(60)
            """
        )
        confinement = Confinement(("python", "-I", "-S", "-c", code), Path("/"))
        ended = ProcessSandbox(groups).start(confinement).wait(60)
        assert ended is not None
        assert (ended.cause, ended.n_survivors) == (ExitCause.LOST, 0)
        assert _processes_with(mark) == []


def test_without_control_groups_resident_memory_and_threads_are_bounded_by_sampling() -> None:
    eats = "kept = bytearray(b'x' * (300 << 20)); import time; time.sleep(60)"
    threads = (
        "import threading, time\n"
        "for _ in range(40): threading.Thread(target=time.sleep, args=(60,)).start()"
    )
    for code, cause in ((eats, ExitCause.OUT_OF_MEMORY), (threads, ExitCause.KILLED)):
        limits = Limits(wall_s=30, memory_bytes=200 << 20, pids=24)
        confinement = Confinement(("python", "-I", "-c", code), Path("/"), limits=limits)
        ended = ProcessSandbox(groups=None).start(confinement).wait(60)
        assert ended is not None
        assert (ended.cause, ended.n_survivors) == (cause, 0)


def test_a_stopped_supervisor_does_not_outlive_a_kill() -> None:
    code = "import os, time; os.kill(os.getppid(), 19); time.sleep(60)"
    confinement = Confinement(
        ("python", "-I", "-S", "-c", code), Path("/"), limits=Limits(wall_s=0.5)
    )
    ended = ProcessSandbox().start(confinement).wait(60)
    assert ended is not None
    assert (ended.cause, ended.n_survivors) == (ExitCause.TIMEOUT, 0)


def test_a_dead_harness_takes_its_processes_with_it(tmp_path: Path) -> None:
    mark = f"novum-orphan-{os.getpid()}-{time.monotonic_ns()}"
    script = textwrap.dedent(
        f"""
        import os, sys, time
        from pathlib import Path
        from novum.sandboxes import Confinement
        from novum.sandboxes.process import ProcessSandbox

        code = "import time; print(1); time.sleep(300)"
        ProcessSandbox().start(Confinement(("python", "-c", code, "{mark}"), Path("/")))
        while not os.path.exists({str(tmp_path / "go")!r}):
            time.sleep(0.01)
        os.kill(os.getpid(), 9)
        """
    )
    harness = psutil.Popen([sys.executable, "-c", script])
    until = time.monotonic() + 120
    while not (found := _own(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    assert found
    (tmp_path / "go").touch()
    harness.wait(120)
    until = time.monotonic() + 120
    while _own(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert _own(mark) == []


def _own(mark: str) -> list[int]:
    """Processes with `mark` as an argument of its own (the script that starts them holds more)."""
    found = []
    for pid in _processes_with(mark):
        try:
            if mark in psutil.Process(pid).cmdline():
                found.append(pid)
        except psutil.Error:
            continue
    return found


def test_auto_is_a_provider_that_isolates_and_never_plain_processes() -> None:
    try:
        found = find_sandbox("auto")
    except SandboxUnavailable as error:
        assert "process" in str(error)
        return
    assert found.name != "process"
    assert Promise.SECRETS_UNREADABLE in found.promises


def test_code_of_one_s_own_runs_without_isolation_where_nothing_isolates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent() -> Sandbox:
        raise SandboxUnavailable("not installed")

    for name in ISOLATING:
        monkeypatch.setitem(PROVIDERS, name, absent)
    with pytest.raises(SandboxUnavailable, match="by name"):
        find_sandbox("auto")
    assert find_sandbox("auto", own_code=True).name == "process"


def test_an_unknown_sandbox_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="bubblewrap"):
        find_sandbox("chroot")
