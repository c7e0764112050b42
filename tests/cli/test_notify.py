"""Notifications: sent, tried again, given up, never in the way, and silent about the address."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from novum.agents.approvals import ask_for, give
from novum.app import notify
from novum.app.cli import app
from novum.app.notify import Notifier
from novum.app.story import read_story
from novum.errors import UsageError
from novum.lab.run import RunFolder
from novum.settings import NotifySettings, load_settings

PACK = Path(__file__).parent.parent / "packs" / "climb"
KEY = "sekret-0123456789"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        hook = self.server
        status = hook.statuses.pop(0) if hook.statuses else 200
        if status == 0:
            hook.gone.wait(200)
        hook.got.append((self.path, status, json.loads(content)))
        self.send_response(status or 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        return


class Hook(ThreadingHTTPServer):
    """A loopback webhook; `statuses` are its first answers (0 hangs), then 200."""

    daemon_threads = False  # the end of a test waits for its handlers

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, int, dict[str, object]]] = []
        self.statuses: list[int] = []
        self.gone = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{KEY}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.gone.set()
    server.shutdown()
    thread.join()
    server.server_close()


def notifier(hook: Hook, **more: object) -> Notifier:
    return Notifier(NotifySettings.model_validate({"url": hook.url, **more}), "demo", "climb")


def test_a_passing_fault_is_tried_again_and_another_one_is_given_up(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.statuses = [503, 200, 403]
    told = notifier(hook)
    told.tell("champion", "better", tree="abc")
    told.tell("stop", "over")
    told.close()
    assert [(s, m["event"]) for _, s, m in hook.got] == [
        (503, "champion"), (200, "champion"), (403, "stop"),
    ]  # fmt: skip
    assert hook.got[1][2] | {"at_s": 0} == {
        "event": "champion", "text": "better", "run": "demo", "benchmark": "climb", "at_s": 0,
        "tree": "abc",
    }  # fmt: skip
    assert "the webhook was not told of stop: it answered 403" in caplog.text
    assert KEY not in caplog.text


def test_only_what_was_asked_for_is_sent_and_nobody_listening_is_no_error(hook: Hook) -> None:
    told = notifier(hook, on=["stop"])
    told.tell("champion", "better")
    told.tell("stop", "over")
    told.close()
    assert [m["event"] for _, _, m in hook.got] == ["stop"]
    nobody = Notifier(NotifySettings(), "demo", "climb")
    nobody.tell("stop", "over")
    nobody.close()


def test_a_question_is_told_while_it_is_open(hook: Hook, made_run: RunFolder) -> None:
    with made_run.ledger() as ledger:
        story = read_story(made_run.info, ledger)
        ask_for(ledger, "p0-0")
        ask_for(ledger, "p1-0")
        give(ledger, "p1-0", is_approved=True, who="ada")
        told = notifier(hook)
        told.see(story.follow(ledger), story)
        told.close()
    assert [(m["event"], m["id"]) for _, _, m in hook.got] == [("approval", "p0-0")]


def test_a_server_that_hangs_holds_nobody_up(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "CLOSE_S", 0.2)
    hook.statuses = [0]
    told = notifier(hook)
    began = time.monotonic()
    for _ in range(notify.MAX_WAITING + 20):
        told.tell("champion", "better")
    told.close()
    assert time.monotonic() - began < 100, "it waited for the server"
    assert not hook.got
    hook.gone.set()
    for thread in threading.enumerate():
        if thread.name == "notify":
            thread.join()


def test_a_command_gets_the_message_and_its_failure_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "kept"
    program = tmp_path / "keep.py"
    program.write_text(
        "import os, sys\n"
        f"open({str(kept)!r}, 'w').write(sys.stdin.read() + os.environ['MESSAGE_EVENT'])"
    )
    told = Notifier(NotifySettings(command=f"{sys.executable} {program}"), "demo", "climb")
    told.tell("failure", "it broke")
    told.close()
    said = kept.read_text()
    assert said.endswith("failure") and json.loads(said.removesuffix("failure"))["run"] == "demo"
    told = Notifier(NotifySettings(command="/no/such/program --x"), "demo", "climb")
    told.tell("failure", "it broke")
    told.close()
    assert "the command was not told of failure: FileNotFoundError" in caplog.text


def test_a_wrong_address_is_not_repeated_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVUM_NOTIFY__URL", f"ftp://host/{KEY}")
    with pytest.raises(UsageError, match="a webhook begins with") as caught:
        load_settings(folder=tmp_path)
    assert KEY not in str(caught.value)


def test_a_headless_run_tells_of_its_end_and_keeps_the_address_nowhere(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("NOVUM_NOTIFY__URL", hook.url)
    monkeypatch.setenv("NOVUM_PATHS__CACHE", str(tmp_path / "cache"))
    words = ["run", str(PACK), "--name", "one", "--runs", str(tmp_path / "runs"), "--json"]
    words += ["--experiments", "6", "--sandbox", "process", "--approve", "plan", "--yes"]
    said = CliRunner().invoke(app, words)
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert (lines[0]["kind"], lines[0]["format"], lines[0]["name"]) == ("run", 1, "one")
    assert lines[-1]["kind"] == "outcome"
    events = [m["event"] for _, _, m in hook.got]
    assert events[-1] == "stop" and "failure" not in events
    assert ("champion" in events) is (lines[-1]["state"] == "confirmed")
    outcome = hook.got[-1][2]["outcome"]
    assert isinstance(outcome, dict) and outcome["state"] == lines[-1]["state"]
    assert said.exit_code == {"confirmed": 0, "nothing better": 3}.get(lines[-1]["state"], 4)
    for path in (tmp_path / "runs").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in said.stdout + said.stderr + caplog.text


def test_a_run_that_fails_says_so_far_away_and_in_json(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVUM_NOTIFY__URL", hook.url)
    monkeypatch.setenv("NOVUM_PATHS__CACHE", str(tmp_path / "cache"))
    words = ["run", str(PACK), "--name", "one", "--runs", str(tmp_path / "runs"), "--json"]
    words += ["--sandbox", "process", "--experiments", "1"]
    monkeypatch.setenv("NOVUM_PATHS__SCRATCH", str(tmp_path / "no" / "such"))
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 1
    ((_, _, message),) = hook.got
    assert message["event"] == "failure" and "no" in str(message["text"])
