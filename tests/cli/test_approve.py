"""`novum approve` from another process, before and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from novum.agents.approvals import ASKED, ask_for, open_questions
from novum.app.cli import app
from novum.lab.run import RunFolder

PACK = Path(__file__).parent.parent / "packs" / "climb"


def novum(*words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "novum", *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_question(run: Path, process: subprocess.Popen[str], known: int) -> None:
    """Until the run has asked more often than `known` times."""
    while not (run / "run.toml").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    with RunFolder.open(run).ledger(read_only=True) as ledger:
        while len(ledger.latest((ASKED,), 99)) <= known:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)


def test_a_killed_run_still_waits_and_takes_an_answer_given_meanwhile(tmp_path: Path) -> None:
    runs, cache = tmp_path / "runs", {"NOVUM_PATHS__CACHE": str(tmp_path / "cache")}
    os.environ.update(cache)
    try:
        begin = novum(
            "run", str(PACK), "--name", "one", "--runs", str(runs), "--threads", "1",
            "--experiments", "2", "--sandbox", "process", "--json",
            "--approve", "plan", "--approve-wait", "1h",
        )  # fmt: skip
        wait_for_question(runs / "one", begin, 0)
        begin.send_signal(signal.SIGKILL)
        begin.communicate()
        invoke = CliRunner().invoke
        listed = invoke(app, ["approve", "one", "--list", "--runs", str(runs)])
        assert "p0-0 waits for" in listed.stdout and "before its code is written" in listed.stdout
        said = invoke(app, ["approve", "one", "--refuse", "--why", "no", "--runs", str(runs)])
        assert "p0-0 is refused by" in said.stdout and said.stdout.endswith(": no\n")
        again = invoke(app, ["approve", "one", "p0-0", "--runs", str(runs)])
        assert again.exit_code == 2 and "refused already" in again.stderr
        go_on = novum("resume", str(runs / "one"), "--json")
        wait_for_question(runs / "one", go_on, 1)
        said = invoke(app, ["approve", "one", "p0-1", "--runs", str(runs)])
        assert "p0-1 is approved by" in said.stdout
        out, err = go_on.communicate(timeout=250)
    finally:
        del os.environ["NOVUM_PATHS__CACHE"]
    assert go_on.returncode in (0, 3, 4), err
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["payload"]["id"] for e in events if e["kind"] == "approval.answer"] == ["p0-1"]
    assert events[-1]["kind"] == "outcome"
    checked = invoke(app, ["replay", "one", "--verify", "--runs", str(runs)])
    assert checked.exit_code == 0, checked.stdout


@pytest.mark.parametrize("more", [[], ["--yes"], ["--approve-wait", "1s"]])
def test_without_a_terminal_a_run_never_waits_for_ever(tmp_path: Path, more: list[str]) -> None:
    words = ["run", str(PACK), "--runs", str(tmp_path), "--approve", "plan", "--brain", "no:such"]
    said = CliRunner().invoke(app, [*words, *more])
    assert said.exit_code == 2
    assert ("waits for a person" in said.stderr) is (not more)


def test_one_of_several_questions_has_to_be_named(made_run: RunFolder) -> None:
    with made_run.ledger() as ledger:
        ask_for(ledger, "p0-0")
        ask_for(ledger, "p1-0", ledger.candidates()[2].tree)
        assert len(open_questions(ledger)) == 2
    said = CliRunner().invoke(app, ["approve", "demo"])
    assert said.exit_code == 2 and "say which; open: p0-0, p1-0/" in said.stderr
    shown = CliRunner().invoke(app, ["approve", "demo", "--list"])
    assert "+PEEK = 1" in shown.stdout
