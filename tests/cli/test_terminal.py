"""The chat on a terminal: prompts, confirmations, Ctrl-C, and a run in the same terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from novum.agents.brains.scripted import ScriptedModel, calls
from novum.app.assistant import Assistant
from novum.app.chat import Chat
from novum.app.terminal import converse
from novum.lab.run import RunFolder

PACK = Path(__file__).parent.parent / "packs" / "climb"


@pytest.fixture
def chat(made_run: RunFolder) -> Iterator[Chat]:
    with made_run.ledger() as ledger:
        yield Chat(made_run, ledger, made_run.archive(read_only=True))


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    """Keys that somebody presses."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


async def test_a_person_confirms_one_change_and_not_another(
    chat: Chat, keys: PipeInput, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Any] = [
        calls(("pause", {"asked": "pause"})), "d1 stands.",
        calls(("stop", {"asked": "stop"})), "Nothing was stopped.",
    ]  # fmt: skip
    assistant = Assistant(chat, ScriptedModel(answers=answers), "scripted:x")
    keys.send_text("pause\ry\rstop\rn\r/directives\r/quit\r")
    await asyncio.wait_for(converse(chat, assistant), 60)
    said = capsys.readouterr().out
    assert "d1 standing  user: Pause: begin nothing new." in said
    assert [d.action for d in chat.ledger.directives()] == [{"pause": True}]
    assert "Nothing was stopped." in said and "the run goes on without you" in said


async def test_ctrl_c_ends_an_answer_and_leaves_the_chat_open(
    chat: Chat, keys: PipeInput, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(messages: list[BaseMessage]) -> AIMessage:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)  # signals are seen between two steps of Python
        return calls(("status", {}))

    assistant = Assistant(chat, ScriptedModel(answers=[interrupted, "Here."]), "scripted:x")
    keys.send_text("What now?\rAnd now?\r/quit\r")
    await asyncio.wait_for(converse(chat, assistant), 60)
    said = capsys.readouterr().out
    assert "(interrupted)" in said and "Here." in said


async def test_ctrl_c_beside_a_run_is_the_runs(chat: Chat, keys: PipeInput) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    try:
        keys.send_text("/status\r\x03")
        await asyncio.wait_for(converse(chat, None, beside=True), 60)
        await asyncio.wait_for(told.wait(), 60)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


class Terminal:
    """`novum` on a terminal of its own."""

    def __init__(self, *words: str, cache: Path) -> None:
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "novum", *words],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=os.environ | {"NOVUM_PATHS__CACHE": str(cache), "TERM": "xterm", "COLUMNS": "200"},
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(ours, False)
        self.file = ours
        self.shown = ""

    def until(self, words: str, timeout_s: float = 90.0) -> None:
        """Read until something is shown."""
        ends = time.monotonic() + timeout_s
        while words not in self.shown and time.monotonic() < ends:
            self._read()
            time.sleep(0.05)
        assert words in self.shown, self.shown[-3000:]

    def press(self, text: str) -> None:
        os.write(self.file, text.encode())

    def end(self) -> int:
        """The exit code, with everything that was shown read."""
        ends = time.monotonic() + 90
        while self.process.poll() is None and time.monotonic() < ends:
            self._read()
            time.sleep(0.05)
        self._read()
        os.close(self.file)
        return self.process.wait(1)

    def _read(self) -> None:
        try:
            while chunk := os.read(self.file, 65_536):
                self.shown += chunk.decode(errors="replace")
        except OSError:  # nothing now, or the other side is gone
            return


@pytest.mark.slow
def test_a_run_and_its_chat_share_a_terminal(tmp_path: Path) -> None:
    words = ["run", str(PACK), "--chat", "--runs", str(tmp_path), "--name", "one"]
    words += ["--sandbox", "process", "--threads", "1", "--approve", "plan"]
    terminal = Terminal(*words, cache=tmp_path / "cache")
    terminal.until("p0-0 waits: novum approve one p0-0")
    terminal.press("/refuse p0-0 not this\r")
    terminal.until("#1 dropped: refused by")
    terminal.until("p0-1 waits")
    terminal.press("\x03")
    assert terminal.end() == 130, terminal.shown[-3000:]
    assert f"novum resume {tmp_path / 'one'}" in terminal.shown.replace("\r\n", "")
    again = Terminal("resume", str(tmp_path / "one"), "--chat", cache=tmp_path / "cache")
    again.until("p0-1 (plan)")
    again.press("/stop\r")
    assert again.end() in (0, 3, 4), again.shown[-3000:]
    with RunFolder.open(tmp_path / "one").ledger(read_only=True) as ledger:
        ledger.verify()
