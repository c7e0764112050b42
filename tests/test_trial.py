"""Whole trials with real processes: what counts, what does not, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from novum.benchmarks.harness import harness_digest, run_trial, tree_hash
from novum.benchmarks.harness.seeds import told_seed
from novum.benchmarks.pack import Profile, load_pack
from novum.benchmarks.protocol import (
    Graded,
    Grader,
    RunPlan,
    ServePlan,
    TrialContext,
    TrialRequest,
    TrialResult,
)
from novum.errors import DiskFull, SandboxLost, SandboxUnavailable, UsageError
from novum.lab.records import TrialStatus
from novum.sandboxes import Sandbox, find_sandbox
from novum.sandboxes.executor import Executor
from novum.sandboxes.process import ProcessSandbox
from novum.sandboxes.slots import Slot

PACK = load_pack(Path(__file__).parent / "packs" / "toy")

START = "run = harness.start()\n"
LOAD = """
import json
import harness

def load(folder, device):
    mean = json.loads((folder / "mean.json").read_text())
    return lambda questions: questions + mean

"""
SAVE = """
import json
(run.output / "mean.json").write_text(json.dumps(float(run.data["train"].mean())))
"""


@dataclass(frozen=True)
class Toy:
    """The toy pack in one sandbox; a call runs one trial of a candidate."""

    sandbox: Sandbox
    scratch: Path
    profile: Profile
    slot: Slot = field(default_factory=Slot)

    def with_profile(self, name: str = "cpu", **changes: Any) -> Toy:
        """The same with another profile, or with changes to it."""
        return replace(self, profile=PACK.profile(name).model_copy(update=changes))

    def grader(self) -> Grader:
        return PACK.grader(self.profile, self.scratch)

    def trial(
        self,
        main: str,
        *,
        load: str = LOAD,
        grader: Grader | None = None,
        seed: int = 1,
        **more: Any,
    ) -> TrialResult:
        """Run `main` as the training part of a candidate, scored by `load`."""
        code = load + "\nif __name__ == '__main__':\n" + textwrap.indent(textwrap.dedent(main), " ")
        files = {"train.py": code.encode()}
        return run_trial(
            TrialRequest(files, tree_hash(files), seed, **more),
            pack=PACK,
            profile=self.profile,
            grader=grader or self.grader(),
            sandbox=self.sandbox,
            slot=self.slot,
            scratch=self.scratch,
        )


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    made = Toy(ProcessSandbox(), tmp_path / "scratch", PACK.profile())
    yield made
    assert not list(made.scratch.glob("*")), "a trial left files in its scratch folder"


@pytest.fixture(params=["process", "bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def any_toy(request: pytest.FixtureRequest, toy: Toy) -> Toy:
    try:
        return Toy(find_sandbox(request.param), toy.scratch, toy.profile)
    except SandboxUnavailable as error:
        pytest.skip(f"{request.param} cannot run here: {error}")


def names_of(result: TrialResult) -> list[str]:
    return [phase.name for phase in result.phases]


def is_running(mark: str) -> bool:
    for process in psutil.process_iter():
        try:
            if mark in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except psutil.Error:
            continue
    return False


# --- what an honest candidate gets ---


def test_the_next_reader_is_started_ahead_and_loads_when_the_one_before_has_ended(
    any_toy: Toy,
) -> None:
    load = """
import os, time
import harness

def load(folder, device):
    loaded_s = time.monotonic()
    began_s = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / os.sysconf(2)
    def answer(questions):
        questions[:2] = began_s, loaded_s
        return questions
    return answer

"""
    seen: list[tuple[float, float, float]] = []
    toy = any_toy.with_profile(score_s=60)
    limits = toy.profile.limits(60)

    class Twice(type(toy.grader())):  # type: ignore[misc]
        def plan(self, request: TrialRequest) -> RunPlan:
            plan: RunPlan = super().plan(request)
            return replace(plan, serve=ServePlan("train", limits, 2, "numpy"))

        def trial(self, context: TrialContext) -> Graded:
            run = context.run_stage(self.plan(context.request))
            for _ in range(3):  # one more than was planned
                with context.score_stage(
                    run.artifact, entry="train", limits=limits, tensors="numpy"
                ) as session:
                    time.sleep(0.5)
                    answers = np.empty(4)
                    session.call("", [np.zeros(4)], answers, timeout_s=30)
                seen.append((answers[0], answers[1], time.monotonic()))
            return Graded(0.0)

    folders = PACK.folder, toy.profile, toy.scratch
    result = toy.trial(START + SAVE, load=load, grader=Twice(*folders))
    assert result.status is TrialStatus.FINISHED, result.error
    (_, _, first_end), (began, loaded, second_end), (last_began, last_loaded, _) = seen
    assert began < first_end < loaded, "started ahead, asked to load afterwards"
    assert second_end < last_began + 0.05 and second_end < last_loaded


def test_an_honest_trial_is_measured_from_outside(any_toy: Toy) -> None:
    result = any_toy.trial(START + SAVE + "harness.claim('error', -5.0)")
    assert result.status is TrialStatus.FINISHED, result.error
    assert result.metric is not None and 0 < result.metric < 0.2
    assert result.claimed == {"error": -5.0}
    assert names_of(result) == [
        *("freeze", "run-stage", "start", "end", "artifact", "score-stage", "loaded", "result")
    ]
    assert result.observed["n_files"] == 1
    assert result.observed["used_s"] > 0 and result.observed["startup_s"] > 0
    assert result.observed["peak_bytes"] > 1 << 20
    assert result.observed["cpu_s"] > 0 and result.observed["score_s"] > 0
    assert len(result.artifact) == 64


def test_the_same_seed_gives_the_same_metric_and_another_one_does_not(toy: Toy) -> None:
    first, second, other = (toy.trial(START + SAVE, seed=seed) for seed in (3, 3, 4))
    assert first.metric == second.metric != other.metric
    assert first.artifact == second.artifact != other.artifact


def test_a_candidate_is_not_told_the_seed_that_its_grader_draws_from(toy: Toy) -> None:
    """With the seed, the pack's questions could be drawn and answered while it trains."""
    seen = set()
    for seed in range(7, 12):
        claim = "harness.claim('seed', float(run.seed))\n"
        told = toy.trial(START + claim + SAVE, seed=seed).claimed["seed"]
        assert told == told_seed(seed) != seed and 0 <= told < 1 << 16
        seen.add(told)
    assert len(seen) == 5
    n_alike = Counter(told_seed(seed) for seed in range(1 << 20))
    assert min(n_alike.values()) >= 2 and len(n_alike) == 1 << 16


def test_settings_are_known_before_the_start_and_the_threads_are_those_of_the_slot(
    toy: Toy,
) -> None:
    core = max(os.sched_getaffinity(0))
    pinned = Toy(toy.sandbox, toy.scratch, toy.profile, Slot(cores=(core,)))
    result = pinned.trial(
        "import os\ninfo = harness.info()\n"
        + f"assert os.sched_getaffinity(0) == {{{core}}}\n"
        + "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
        + START
        + "assert (info['seed'], info['n'], info['device']) == (run.seed, 1000, 'cpu')\n"
        + "assert info['budget_s'] == run.budget_s == 20 and info['clock'] == 'wall'\n"
        + "assert 0 < run.remaining_s() <= 20\n"
        + SAVE
    )
    assert result.status is TrialStatus.FINISHED, result.error


def test_a_smoke_test_and_a_fidelity_have_budgets_of_their_own(toy: Toy) -> None:
    code = START + "harness.claim('budget', run.budget_s)\n" + SAVE
    assert toy.trial(code, smoke=True).claimed == {"budget": 5.0}
    assert toy.trial(code, fidelity="half").claimed == {"budget": 10.0}
    assert toy.trial(code).claimed == {"budget": 20.0}


def test_start_may_be_called_again_also_by_other_processes_and_the_clock_starts_once(
    toy: Toy,
) -> None:
    result = toy.trial(
        """
        import os, time
        first = harness.start()
        assert harness.start() is first
        time.sleep(0.2)
        code = (
            "import harness; run = harness.start();"
            "assert run.remaining_s() < run.budget_s - 0.15, run.remaining_s();"
            "(run.output / 'child').write_text(str(run.data['train'].sum()))"
        )
        import subprocess, sys
        subprocess.run([sys.executable, '-c', code], check=True)
        run = first
        assert (run.output / 'child').read_text() == str(run.data['train'].sum())
        """
        + SAVE.replace("\n", "\n        ")
    )
    assert result.status is TrialStatus.FINISHED, result.error
    assert names_of(result).count("start") == 1


# --- clocks ---


def test_at_the_deadline_the_tree_is_killed_and_what_stood_there_counts(any_toy: Toy) -> None:
    main = "import numpy, time\n" + START + SAVE + "time.sleep(300)"
    result = any_toy.with_profile(budget_s=1.5).trial(main)
    assert result.status is TrialStatus.FINISHED, result.error
    assert "deadline" in names_of(result)
    assert 1.5 <= result.observed["used_s"] < 60


def test_a_file_saved_after_the_deadline_does_not_count(toy: Toy) -> None:
    result = toy.with_profile(budget_s=0.5).trial(
        START
        + "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
        + "while run.remaining_s() > 0: time.sleep(0.01)\n"
        + "time.sleep(0.1)\n"
        + SAVE
    )
    assert result.status is TrialStatus.TIMEOUT
    assert "no file" in result.error and result.metric is None


def test_whoever_does_not_start_in_time_is_stopped(toy: Toy) -> None:
    result = toy.with_profile(allowance_s=0.5).trial("import time; time.sleep(60)")
    assert result.status is TrialStatus.TIMEOUT
    assert "harness.start()" in result.error
    assert "allowance-spent" in names_of(result)


def test_a_cpu_budget_counts_the_work_of_children_and_not_waiting(toy: Toy) -> None:
    counted = toy.with_profile("cputime")
    waits = counted.trial(START + "import time; time.sleep(1.5)\n" + SAVE)
    assert waits.status is TrialStatus.FINISHED, waits.error
    assert waits.observed["used_s"] < 1.0 < waits.observed["wall_s"]
    works = counted.trial(
        START + SAVE + "import os\nif os.fork() == 0:\n while True: pass\nos.wait()"
    )
    assert works.status is TrialStatus.FINISHED, works.error
    assert "deadline" in names_of(works)
    assert 1.0 <= works.observed["used_s"] < 3


@pytest.mark.parametrize("free_s", [None, 100.0, 0.3])
def test_work_before_the_clock_beyond_what_is_free_is_taken_from_a_cpu_budget(
    toy: Toy, free_s: float | None
) -> None:
    """Who trains in the warm-up gains nothing, whatever it trains on."""
    counted = toy.with_profile("cputime", budget_s=30, free_cpu_s=free_s)
    work = "import time\nwhile time.process_time() < 1.0: pass\n"
    result = counted.trial(work + START + "harness.claim('left', run.remaining_s())\n" + SAVE)
    assert result.status is TrialStatus.FINISHED, result.error
    before_s, whole_s = result.observed["startup_cpu_s"], result.observed["cpu_s"]
    assert before_s >= 0.9
    free = before_s if free_s is None else min(before_s, free_s)
    assert result.observed["used_s"] == pytest.approx(whole_s - free)
    assert result.claimed["left"] <= 30 - (before_s - free)


def test_a_warm_up_that_spends_the_whole_cpu_budget_leaves_nothing(toy: Toy) -> None:
    counted = toy.with_profile("cputime", budget_s=0.2, free_cpu_s=0.1)
    work = "import time\nwhile time.process_time() < 1.0: pass\n"
    result = counted.trial(work + START + "time.sleep(60)\n" + SAVE)
    assert result.status is TrialStatus.TIMEOUT, result.error


def test_the_time_left_on_a_cpu_budget_falls_with_work_only(toy: Toy) -> None:
    result = toy.with_profile("cputime").trial(
        START
        + SAVE
        + "import time\nbefore = run.remaining_s(); time.sleep(0.3)\n"
        + "assert before - run.remaining_s() < 0.2\n"
        + "while run.remaining_s() > 0.1: pass\n"
        + "harness.claim('cpu', time.process_time())"
    )
    assert result.status is TrialStatus.FINISHED, result.error
    assert "deadline" not in names_of(result)
    assert result.claimed["cpu"] > 0.3


# --- candidates that fail ---


@pytest.mark.parametrize(
    ("main", "status", "error"),
    [
        ("raise ValueError('my bug')", TrialStatus.CRASHED, "my bug"),
        (START + "raise ValueError('my bug')", TrialStatus.CRASHED, "my bug"),
        (START + SAVE + "import os; os.abort()", TrialStatus.CRASHED, "signalled"),
        (START + SAVE + "raise SystemExit(3)", TrialStatus.CRASHED, "exited with 3"),
        (START, TrialStatus.CRASHED, "no file"),
        ("pass", TrialStatus.CRASHED, "without harness.start()"),
        (START + "(run.output/'mean.json').write_text('NaN')", TrialStatus.CRASHED, "NaN"),
        (START + "(run.output/'mean.json').write_text('{')", TrialStatus.CRASHED, "JSONDecode"),
        (START + "x = bytearray(b'x' * (1 << 30))", TrialStatus.CRASHED, "need less"),
        ("x = bytearray(b'x' * (1 << 30))", TrialStatus.CRASHED, "MiB at its peak"),
    ],
)
def test_a_failure_of_the_candidate_is_a_result(
    toy: Toy, main: str, status: TrialStatus, error: str
) -> None:
    result = toy.trial(main)
    assert (result.status, result.metric) == (status, None)
    assert error in result.error


def test_a_flood_of_output_and_control_characters_does_not_reach_the_log(toy: Toy) -> None:
    result = toy.trial(
        START + SAVE + "import os\nos.write(1, b'\\x1b[31m')\n"
        "for _ in range(64): os.write(1, b'x' * (1 << 20))"
    )
    assert result.status is TrialStatus.FINISHED, result.error
    assert len(result.log) < 1 << 18 and "\x1b" not in result.log


def test_a_fork_bomb_stays_within_its_bounds_and_leaves_nothing(toy: Toy) -> None:
    mark = f"novum-bomb-{os.getpid()}-{time.monotonic_ns()}"
    result = toy.with_profile(pids=16).trial(
        START + f"import os, subprocess, sys\nfor _ in range(200):\n"
        f"    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', '{mark}'])"
    )
    assert result.status is TrialStatus.CRASHED
    assert not is_running(mark)


def test_a_daemon_ends_with_its_trial_and_cannot_touch_the_artifact_later(toy: Toy) -> None:
    mark = f"novum-daemon-{os.getpid()}-{time.monotonic_ns()}"
    result = toy.trial(
        START
        + SAVE
        + f"""
import os, sys
code = "import sys, time; time.sleep(60); open(sys.argv[1], 'w').write('0'); time.sleep(99)"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, '-c', code, os.path.join(run.output, 'mean.json'),
                                  '{mark}'])
    os._exit(0)
"""
    )
    assert result.status is TrialStatus.FINISHED, result.error
    assert result.metric is not None and result.metric < 0.2
    assert not is_running(mark)


def test_whoever_kills_the_supervisor_loses_the_trial(toy: Toy) -> None:
    with pytest.raises(SandboxLost):
        toy.trial(START + SAVE + "import os, time; os.kill(os.getppid(), 9); time.sleep(60)")


# --- candidates that cheat ---


def test_before_the_start_there_is_no_data_to_be_had(any_toy: Toy) -> None:
    result = any_toy.trial(
        """
        import json, os, socket
        fds = set(os.listdir('/proc/self/fd'))
        folder, name = os.path.split(os.environ['NOVUM_GATE'])
        for op in ('info', 'remaining', 'data', 'arrays', None):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            d = os.open(folder, os.O_PATH)
            s.connect(f'/proc/self/fd/{d}/{name}')
            s.send(json.dumps({'op': op}).encode())
            answer, given, _, _ = socket.recv_fds(s, 65536, 16)
            assert not given, op
            assert op in ('info', 'remaining') or answer == b'', (op, answer)
        run = harness.start()
        assert len(run.data) == 1
        """
        + SAVE.replace("\n", "\n        ")
    )
    assert result.status is TrialStatus.FINISHED, result.error
    assert names_of(result).count("protocol-error") == 3


@pytest.mark.parametrize(
    "words",
    [
        "[b'{']",
        "[b'[' * 60000]",
        "[b'[1]']",
        "[b'\\xff' * 100]",
        "[b'9' * 60000]",
        "[b'x' * 100000]",
        """[b'{"op": "claim", "name": "n", "value": 1e999}']""",
        """[b'{"op": "claim", "name": 1, "value": [1]}'] * 5""",
        """[b'{"op": "claim", "name": "%d", "value": 1}' % i for i in range(999)]""",
        """[b'{"op": "remaining"}'] * 50000""",
    ],
)
def test_nonsense_on_the_socket_harms_nobody_but_its_sender(toy: Toy, words: str) -> None:
    result = toy.trial(
        START
        + SAVE
        + f"""
import os, socket
folder, name = os.path.split(os.environ['NOVUM_GATE'])
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(f'/proc/self/fd/{{os.open(folder, os.O_PATH)}}/{{name}}')
try:
    for word in {words}:
        socket.send_fds(s, [word], [0])
        s.recv(65536)
except OSError:
    pass
"""
    )
    assert result.status is TrialStatus.FINISHED, result.error
    assert len(result.claimed) <= 64 and all(np.isfinite(v) for v in result.claimed.values())


def test_the_data_cannot_be_changed_for_others(any_toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "train.npy"
    np.save(path, np.full(1000, 7.0))

    class Filed(type(any_toy.grader())):  # type: ignore[misc]
        def arrays(self, request: TrialRequest) -> dict[str, Path]:
            return {"train": path}

    grader = Filed(PACK.folder, any_toy.profile, tmp_path)
    result = any_toy.trial(
        START
        + SAVE
        + """
import os
run.data["train"][:] = 0
for fd in os.listdir('/proc/self/fd'):
    try:
        if 'memfd' in os.readlink(f'/proc/self/fd/{fd}'):
            other = os.open(f'/proc/self/fd/{fd}', os.O_RDWR)
            os.pwrite(other, b'0' * 4096, 0)
            raise SystemExit('the data was written')
    except OSError:
        pass
""",
        grader=grader,
    )
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    again = any_toy.trial(START + "assert (run.data['train'] == 7).all()\n" + SAVE, grader=grader)
    assert again.status is TrialStatus.FINISHED, again.error
    assert (np.load(path) == 7).all()


def test_links_pipes_and_sparse_giants_are_no_artifact(toy: Toy) -> None:
    odd = (
        "import os\nos.symlink('/etc/passwd', run.output/'link')\nos.mkfifo(run.output/'pipe')\n"
        "os.link(run.output/'mean.json', run.output/'twin')\n"
    )
    result = toy.trial(START + SAVE + odd)
    assert result.status is TrialStatus.CRASHED
    assert "no file" in result.error
    result = toy.trial(START + SAVE + odd.partition("os.link")[0])
    assert result.status is TrialStatus.FINISHED and result.observed["n_files"] == 1
    result = toy.trial(
        START + SAVE + "for i in range(9):\n open(run.output/str(i), 'wb').truncate(2 << 20)"
    )
    assert result.status is TrialStatus.CRASHED and "larger than" in result.error


def test_what_the_run_stage_does_to_its_own_folder_is_not_what_is_scored(toy: Toy) -> None:
    result = toy.trial(
        START
        + SAVE
        + "import os, pathlib\nhere = pathlib.Path(__file__)\nos.chmod(here, 0o600)\n"
        + "here.write_text('def load(folder, device): return lambda q: q + 7.0')"
    )
    assert result.status is TrialStatus.FINISHED
    assert result.metric is not None and result.metric > 0


# --- the score stage ---

_CALL = "def load(folder, device):\n    import numpy as np, os, socket, time, json\n    return "


@pytest.mark.parametrize(
    ("load", "error"),
    [
        ("lambda q: q[:3]", "shape"),
        ("lambda q: q.astype(int)", "kind"),
        ("lambda q: q * float('nan')", "NaN"),
        ("lambda q: q / 0", "infinity"),
        ("lambda q: 1 / 0", "ZeroDivisionError"),
        ("lambda q: os._exit(0)", "ended (exited)"),
        ("lambda q: None", "shape"),
        ("lambda q: os.closerange(3, 100) or time.sleep(99)", "closed its connection"),
        ("None", "not callable"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_bad_answer_fails_the_candidate(toy: Toy, load: str, error: str) -> None:
    result = toy.trial(START + SAVE, load="import harness\n" + _CALL + load)
    assert (result.status, result.metric) == (TrialStatus.CRASHED, None)
    assert error in result.error


def test_an_answer_that_does_not_come_is_a_timeout(toy: Toy) -> None:
    short = toy.with_profile(score_s=2)
    result = short.trial(START + SAVE, load="import harness\n" + _CALL + "lambda q: time.sleep(99)")
    assert result.status is TrialStatus.TIMEOUT
    hangs = "import harness, time\ndef load(folder, device): time.sleep(99)"
    result = toy.with_profile(score_s=1).trial(START + SAVE, load=hangs)
    assert result.status is TrialStatus.TIMEOUT


def test_speaking_in_the_servers_place_changes_only_ones_own_answers(any_toy: Toy) -> None:
    takes_over = """
import harness, json, os, socket

def load(folder, device):
    for fd in range(3, 64):
        try:
            s = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        if s.family == socket.AF_UNIX:
            s.send(b'{"ok": true}')
            message, fds, _, _ = socket.recv_fds(s, 65536, 16)
            for fd in fds:
                try:
                    os.ftruncate(fd, 0)   # would fault the harness if the size were not sealed
                except OSError:
                    pass
            s.send(b'{"ok": true, "metric": 0.0}')
            s.send(b'garbage')
    os._exit(0)
"""
    result = any_toy.trial(START + SAVE, load=takes_over)
    assert result.status is TrialStatus.FINISHED
    assert result.metric == pytest.approx(7.0, abs=1.5)  # an empty answer, graded as what it is


# --- graders, the harness, the machine ---


class _Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def prepare(self) -> str:
        return ""

    def trial(self, context: TrialContext) -> Graded:
        raise self._error


def test_a_grader_that_fails_never_passes_anything(toy: Toy) -> None:
    result = toy.trial("", grader=_Failing(KeyError("lost")))
    assert (result.status, result.metric) == (TrialStatus.CRASHED, None)
    assert "the grader failed" in result.error


def test_a_metric_that_is_no_number_never_passes(toy: Toy) -> None:
    class Nan(_Failing):
        def trial(self, context: TrialContext) -> Graded:
            return Graded(float("nan"))

    result = toy.trial("", grader=Nan(KeyError()))
    assert (result.status, result.metric) == (TrialStatus.CRASHED, None)


def test_a_fault_of_the_harness_is_let_out(toy: Toy) -> None:
    class Unserialisable(type(toy.grader())):  # type: ignore[misc]
        def info(self, request: TrialRequest) -> dict[str, object]:
            return {"too long": "x" * (1 << 17)}

    grader = Unserialisable(PACK.folder, toy.profile, toy.scratch)
    with pytest.raises(ValueError, match="at most"):
        toy.trial("harness.info()", grader=grader)


def test_a_full_disk_is_said_so(toy: Toy) -> None:
    with pytest.raises(DiskFull, match="no room"):
        toy.trial("", grader=_Failing(OSError(28, "No space left")))


@pytest.mark.skipif(os.geteuid() != 0, reason="root may mount a small file system")
def test_a_disk_that_fills_up_fails_the_candidate_or_stops_the_run(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)])
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        toy = Toy(ProcessSandbox(), small, PACK.profile())
        result = toy.trial(START + "(run.output / 'big').write_bytes(bytes(4 << 20))")
        assert result.status is TrialStatus.CRASHED
        assert "No space left" in result.error
        assert not list(small.iterdir())
        with pytest.raises(DiskFull):
            toy.trial("", load="#" * (2 << 20))
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_files_that_are_not_those_that_were_frozen_are_refused(toy: Toy) -> None:
    request = TrialRequest({"train.py": b"other"}, tree_hash({"train.py": b"frozen"}), 0)
    with pytest.raises(UsageError, match="as frozen"):
        run_trial(
            request,
            pack=PACK,
            profile=toy.profile,
            grader=toy.grader(),
            sandbox=toy.sandbox,
            slot=toy.slot,
            scratch=toy.scratch,
        )


def test_a_candidate_that_changes_more_than_it_may_is_not_run(toy: Toy) -> None:
    files = {**PACK.start_files(), "harness.py": b"def start(): pass"}
    result = run_trial(
        TrialRequest(files, tree_hash(files), 0),
        pack=PACK,
        profile=toy.profile,
        grader=toy.grader(),
        sandbox=toy.sandbox,
        slot=toy.slot,
        scratch=toy.scratch,
    )
    assert (result.status, result.metric) == (TrialStatus.CRASHED, None)
    assert "not editable: harness.py" in result.error
    assert names_of(result) == ["refused"]


async def test_trials_side_by_side_give_what_they_give_alone(toy: Toy) -> None:
    def work(seed: int) -> Callable[[Slot], TrialResult]:
        return lambda slot: replace(toy, slot=slot).trial(START + SAVE, seed=seed)

    async with Executor([Slot(0), Slot(1)]) as executor:
        together = await asyncio.gather(*(executor.run(work(seed)) for seed in (1, 2, 1, 2)))
    assert [r.status for r in together] == [TrialStatus.FINISHED] * 4
    assert together[0].metric == together[2].metric != together[1].metric == together[3].metric


def test_a_stop_kills_the_trial_and_says_so(toy: Toy) -> None:
    timer = threading.Timer(0.5, toy.slot.stop.set)
    timer.start()
    result = toy.with_profile(budget_s=60).trial(START + SAVE + "import time; time.sleep(60)")
    timer.join()
    assert (result.status, result.metric) == (TrialStatus.KILLED, None)


def test_a_trial_of_the_null_pack_starts_no_process(tmp_path: Path) -> None:
    pack = load_pack(PACK.folder.parent / "null")
    files = pack.start_files()
    profile = pack.profile()
    result = run_trial(
        TrialRequest(files, tree_hash(files), seed=5),
        pack=pack,
        profile=profile,
        grader=pack.grader(profile, tmp_path),
        sandbox=ProcessSandbox(),
        slot=Slot(),
        scratch=tmp_path,
    )
    assert result.status is TrialStatus.FINISHED
    assert result.metric == pytest.approx(1.0, abs=0.1)
    assert names_of(result) == ["freeze", "result"]


def test_the_digest_of_the_harness_depends_on_the_pack_and_its_data() -> None:
    other = load_pack(PACK.folder.parent / "null")
    digests = {harness_digest(PACK, "a"), harness_digest(PACK, "b"), harness_digest(other, "a")}
    assert len(digests) == 3
    assert harness_digest(PACK, "a") in digests


def test_trials_of_one_candidate_share_compiled_kernels_where_its_author_says_so(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    count = """
    import os, pathlib
    run = harness.start()
    own = os.environ["HOME"] + "/kernels"
    folder = pathlib.Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", own))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(len(list(folder.iterdir())))).touch()
    harness.claim("compiled", len(list(folder.iterdir())))
    """

    says: list[bool] = []

    def compiled(more: str = "") -> float:
        result = toy.trial(textwrap.dedent(count) + SAVE + more)
        (stage,) = (p for p in result.phases if p.name == "run-stage")
        says.append("compile_cache" in stage.detail)
        return result.claimed["compiled"]

    assert [compiled(), compiled()] == [1, 1]
    monkeypatch.setenv("NOVUM_COMPILE_CACHE", str(tmp_path / "kernels"))
    assert [compiled(), compiled()] == [1, 2]
    assert compiled("# another candidate\n") == 1
    assert says == [False, False, True, True, True]
