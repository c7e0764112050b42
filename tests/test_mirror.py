"""A mirror is a whole run at any time, whatever ends its maker, and never a reason to stop one."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from novum.app import mirroring
from novum.app.cli import app
from novum.app.mirroring import Mirroring
from novum.errors import NovumError, RunBusy, UsageError
from novum.lab.copying import Copier
from novum.lab.mirror import NOTE, Mirror
from novum.lab.records import Candidate, Purpose, TrialStatus
from novum.lab.run import RunFolder

PACK = Path(__file__).parent / "packs" / "climb"
PATIENCE_S = 120.0


def create(runs: Path, name: str = "demo") -> RunFolder:
    return RunFolder.create(runs, name, benchmark="climb", profile="tiny", settings={"threads": 1})


def work(run: RunFolder, n: int) -> None:
    """One candidate, one blob and one trial, as research records them."""
    with run.ledger() as ledger:
        files = {"solve.py": f"WIDTH = {n}\n".encode()}
        tree, commit = run.archive().put(files, (), "Change", {}, 1.0)
        ledger.add_candidate(Candidate(tree, commit, (), f"p{n}", "Change"))
        trial = ledger.launch_trial(
            f"effect-{n}",
            tree=tree,
            proposal=f"p{n}",
            purpose=Purpose.SEARCH,
            split="search",
            fidelity="full",
            harness="h" * 64,
            hardware="1x Test CPU",
            slot=0,
            nonce=run.nonce,
            benchmark="climb",
            profile="tiny",
        )
        log = run.blobs.put(f"log of {n}")
        ledger.end_trial(trial.id, TrialStatus.FINISHED, metric=1.0 / n, log_blob=log)
        run.note_anchor(ledger.anchor())


def mirror_once(run: RunFolder, folder: Path) -> RunFolder:
    mirror = Mirror(run, folder)
    with mirror.open():
        mirror.copy()
    return RunFolder.open(mirror.path)


def check_whole(run: RunFolder) -> int:
    """Everything that the run's events speak of is there; returns how many trials that are."""
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        trials = ledger.trials()
    archive = run.archive(read_only=True)
    for trial in trials:
        assert archive.files(trial.tree)
        assert run.blobs.text(trial.log_blob) or not trial.log_blob
    assert run.nonce
    return len(trials)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        assert process is None or process.poll() is None, "the process ended before"
        time.sleep(0.01)


def test_a_mirror_is_the_run_and_takes_over_what_is_new(tmp_path: Path) -> None:
    run = create(tmp_path / "runs")
    work(run, 1)
    mirror = mirror_once(run, tmp_path / "far")
    assert mirror.path == tmp_path / "far" / "demo"
    assert check_whole(mirror) == 1
    assert stat.S_IMODE((mirror.path / "nonce").stat().st_mode) == 0o600
    work(run, 2)
    assert check_whole(mirror) == 1
    mirror_once(run, tmp_path / "far")
    assert check_whole(mirror) == 2
    assert not list(mirror.path.rglob("*.mirrored*"))


def test_the_archive_of_a_mirror_is_packed_when_that_of_the_run_is(tmp_path: Path) -> None:
    run = create(tmp_path / "runs")
    mirror = Mirror(run, tmp_path / "far")
    with mirror.open():
        for n in range(1, 4):
            work(run, n)
            mirror.copy()
        assert run.archive().pack() == 9  # a blob, a tree and a commit each
        work(run, 4)
        mirror.copy()
    objects = mirror.path / "archive.git" / "objects"
    assert sum(len(p.name) == 38 for p in objects.rglob("*")) == 3
    assert check_whole(RunFolder.open(mirror.path)) == 4


def test_a_mirror_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    first, second = create(tmp_path / "a"), create(tmp_path / "b")
    work(first, 1)
    work(second, 1)
    mirror_once(first, tmp_path / "far")
    before = (tmp_path / "far/demo/ledger.db").read_bytes()
    with pytest.raises(UsageError, match="another run of this name"):
        mirror_once(second, tmp_path / "far")
    assert (tmp_path / "far/demo/ledger.db").read_bytes() == before
    (tmp_path / "mine/demo").mkdir(parents=True)
    (tmp_path / "mine/demo/thesis.tex").write_text("words")
    with pytest.raises(UsageError, match="no mirror"):
        mirror_once(first, tmp_path / "mine")
    with pytest.raises(UsageError, match="the run itself"):
        mirror_once(first, tmp_path / "a")


def test_a_mirror_that_was_gone_on_with_is_not_overwritten(tmp_path: Path) -> None:
    run = create(tmp_path / "runs")
    work(run, 1)
    mirror = mirror_once(run, tmp_path / "far")
    work(mirror, 7)
    work(run, 2)
    with pytest.raises(UsageError, match="gone on with there"):
        mirror_once(run, tmp_path / "far")
    assert check_whole(mirror) == 2


def test_nobody_works_in_a_folder_while_it_is_a_mirror(tmp_path: Path) -> None:
    run = create(tmp_path / "runs")
    work(run, 1)
    mirror = Mirror(run, tmp_path / "far")
    with mirror.open():
        mirror.copy()
        with pytest.raises(RunBusy), RunFolder.open(mirror.path).lock():
            pass
        with pytest.raises(RunBusy), Mirror(run, tmp_path / "far").open():
            pass


class Gone(BaseException):
    """As if the process had ended here."""


def test_a_mirror_whose_maker_ends_at_any_step_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(tmp_path / "runs")
    reveal = Copier.reveal
    n_cut = 0
    for n_steps in range(60):
        left = n_steps

        def cut(self: Copier, new: Path, target: Path) -> None:
            nonlocal left
            if left == 0:
                raise Gone
            left -= 1
            reveal(self, new, target)

        work(run, n_steps + 1)
        if n_steps % 5 == 4:
            run.archive().pack()
        far = tmp_path / ("far" if n_steps % 2 else f"far-{n_steps}")  # going on, and from nothing
        monkeypatch.setattr(Copier, "reveal", cut)
        try:
            mirror_once(run, far)
        except Gone:
            n_cut += 1
        monkeypatch.setattr(Copier, "reveal", reveal)
        if (far / "demo" / "run.toml").exists():
            check_whole(RunFolder.open(far / "demo"))
        assert check_whole(mirror_once(run, far)) == n_steps + 1
    assert n_cut > 20


def test_a_mirror_that_fails_is_said_once_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirroring, "RETRY_S", 0.02)
    monkeypatch.setattr(mirroring, "LOOK_S", 0.02)
    is_full = True
    copy = Copier.copy

    def full(self: Copier, source: Path, target: Path) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(self, source, target)

    monkeypatch.setattr(Copier, "copy", full)
    run = create(tmp_path / "runs")
    work(run, 1)
    kept = Mirroring(run, tmp_path / "far")
    kept.start()
    try:
        wait_until(lambda: bool(kept.failed))
        work(run, 2)
        is_full = False
        wait_until(lambda: kept.seq > 0)
        work(run, 3)
    finally:
        kept.close()
    assert check_whole(RunFolder.open(kept.mirror.path)) == 3
    said = capfd.readouterr().err.splitlines()
    assert [("cannot be written" in s, "written again" in s) for s in said] == [
        (True, False),
        (False, True),
    ]


def test_a_folder_that_cannot_be_made_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    words = ["run", str(PACK), "--experiments", "2", "--plain", "--sandbox", "process"]
    words += ["--runs", str(tmp_path / "runs"), "--mirror", str(tmp_path / "file")]
    said = CliRunner().invoke(app, words)
    assert said.exit_code in (0, 3, 4), said.output
    assert said.stderr.count("cannot be written, the run goes on") == 1
    assert "holds the run up to event 0 only" in said.stderr
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_run_keeps_its_mirror_through_resume_and_takes_a_free_number(tmp_path: Path) -> None:
    far = tmp_path / "far"
    words = [str(PACK), "--plain", "--sandbox", "process", "--threads", "1"]
    said = CliRunner().invoke(
        app,
        ["run", *words, "--experiments", "1", "--runs", str(tmp_path / "a"), "--mirror", str(far)],
    )
    assert said.exit_code in (0, 3, 4), said.output
    n_trials = check_whole(RunFolder.open(far / "climb-1"))
    again = ["resume", "climb-1", "--runs", str(tmp_path / "a"), "--experiments", "3", "--plain"]
    assert CliRunner().invoke(app, again).exit_code in (0, 3, 4)
    assert check_whole(RunFolder.open(far / "climb-1")) > n_trials
    other = ["run", *words, "--experiments", "1", "--runs", str(tmp_path / "b")]
    assert CliRunner().invoke(app, [*other, "--mirror", str(far)]).exit_code in (0, 3, 4)
    assert check_whole(RunFolder.open(far / "climb-2")) > 0
    said = CliRunner().invoke(app, ["status", str(far / "climb-2"), "--verify"])
    assert said.exit_code == 0, said.output
    said = CliRunner().invoke(app, ["mirror", str(far / "climb-2"), str(tmp_path / "third")])
    assert said.exit_code == 0 and "up to event" in said.stdout, said.output
    assert check_whole(RunFolder.open(tmp_path / "third" / "climb-2")) > 0


@pytest.mark.slow
def test_a_killed_run_goes_on_in_its_mirror_when_its_folder_is_lost(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    words = ["run", str(PACK), "--profile", "slow", "--experiments", "200", "--threads", "1"]
    words += ["--name", "hard", "--sandbox", "process", "--plain", "--mirror", "far"]
    mirror = tmp_path / "far" / "hard"

    def n_ended() -> int:
        try:
            with RunFolder.open(mirror).ledger(read_only=True) as ledger:
                return ledger.counts().get("trials.finished", 0)
        except NovumError:
            return 0

    command = [sys.executable, "-m", "novum", *words]
    with subprocess.Popen(command, cwd=tmp_path, env=env, text=True) as process:
        wait_until(lambda: n_ended() > 2, process)
        process.send_signal(signal.SIGKILL)
    shutil.rmtree(tmp_path / "runs")
    n_before = n_ended()
    assert check_whole(RunFolder.open(mirror)) >= n_before
    command = [sys.executable, "-m", "novum", "resume", str(mirror), "--plain"]
    command += ["--experiments", "4"]
    ended = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True)
    assert ended.returncode in (0, 3, 4), ended.stdout + ended.stderr
    assert "this is the mirror itself" in ended.stderr
    assert check_whole(RunFolder.open(mirror)) >= n_before
    with RunFolder.open(mirror).ledger(read_only=True) as ledger:
        assert {t.status for t in ledger.trials()} <= {
            TrialStatus.FINISHED,
            TrialStatus.LOST,
            TrialStatus.CRASHED,
        }
    assert (mirror / NOTE).exists()
