"""What a model or a program wrote stays text in every view: no markup, no command."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from prompt_toolkit.formatted_text import fragment_list_to_text
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from starlette.testclient import TestClient
from tests.cli.conftest import START, Maker, begin
from typer.testing import CliRunner

from novum.agents.approvals import ask_for
from novum.app.chat import Chat
from novum.app.cli import app
from novum.app.guard import guarded
from novum.app.lines import plain_lines
from novum.app.live import Screen
from novum.app.player import Player
from novum.app.reading import reading
from novum.app.steps import Stepper
from novum.app.web.app import make_app
from novum.app.web.watched import Watched
from novum.errors import NovumError
from novum.lab.records import Directive, Label, Purpose
from novum.lab.run import RunFolder

MARKUP = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
RICH = "[bold]loud[/bold] [/] [link=https://novum.example]here[/link]"
COMMANDS = "\x1b[2J\x1b]0;title\x07\x9b31m\x00\r\u202egnp.exe\u2066\u200f"
LONG = "A" * 10_000
HOSTILE = f"{MARKUP} {RICH} {COMMANDS} end"


@pytest.fixture
def hostile_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of which every text that a model or a program writes is hostile."""
    monkeypatch.chdir(tmp_path)
    run = begin(tmp_path / "runs", "bad")
    with run.ledger() as ledger:
        made = Maker(run, ledger)
        ledger.append("session", {"pid": 1}, "session:0/begin")
        for value in (2.87, 2.91, 2.84):
            made.trial(made.start, "start:vanilla", Purpose.NOISE, value)
        made.propose("p0-0", HOSTILE, (made.start,))
        code = START + f"# {HOSTILE}\n# {LONG}\n".replace("\r", "").encode()
        tree = made.candidate("p0-0", code, (made.start,))
        for value in (2.2, 2.3, 2.35):
            made.trial(tree, "p0-0", Purpose.RACE, value, error=HOSTILE)
            made.trial(made.start, "p0-0", Purpose.RACE, 2.88)
        made.trial(tree, "p0-0", Purpose.RACE, None, error=f"{HOSTILE} {LONG}")
        made.judge("p0-0", tree, made.start, Label.PROMISING, 0.55, "search", reason=HOSTILE)
        made.propose("p0-1", f"{LONG} {HOSTILE}", (tree,))
        dropped = {"tree": "", "reason": HOSTILE, "broken": False}
        ledger.append("dropped", dropped, "dropped:p0-1")
        ledger.add_directive(Directive("d1", HOSTILE, author=HOSTILE))
        ask_for(ledger, "p0-0", tree)
        run.note_anchor(ledger.anchor())
    return run


def commands(text: str) -> set[str]:
    """Characters that steer a terminal or turn the order of what follows."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t"}


def novum(*words: str) -> str:
    said = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert said.exit_code in (0, 3), said.output
    return said.output


LOOKS = (
    ("status",),
    ("status", "--all"),
    ("show", "p0-0"),
    ("show", "p0-1"),
    ("show", "best"),
    ("show", "t10"),
    ("replay", "bad"),
    ("approve", "bad", "--list"),
    ("diff", "bad", "bad"),
)


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_what_a_command_prints_commands_no_terminal(
    hostile_run: RunFolder, words: tuple[str, ...]
) -> None:
    assert commands(novum(*words)) == set()


@pytest.mark.parametrize("what", ["p0-0", "t10"])
def test_markup_of_records_is_shown_as_it_was_written(hostile_run: RunFolder, what: str) -> None:
    said = re.sub(r"\s+", " ", novum("show", what))
    assert "<script>alert(1)</script>" in said and "[bold]loud[/bold]" in said


def test_an_error_of_a_program_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def fails() -> None:
        raise NovumError(f"the baseline failed: {HOSTILE}")

    with pytest.raises(typer.Exit):
        fails()
    said = capsys.readouterr().err
    assert "<script>" in said and commands(said) == set()


def test_a_picture_of_the_run_draws_words_as_words(hostile_run: RunFolder) -> None:
    with reading("bad", hostile_run.path.parent) as one:
        for width in (40, 80, 160):
            console = Console(width=width, height=30, file=io.StringIO(), record=True)
            console.print(Screen(one.story, "nanochat", 2, 2), height=30)
            text = console.export_text()
            assert commands(text) == set()
            assert max(map(len, text.splitlines())) <= width
        assert "[bold]loud" in text
        lines = "\n".join(plain_lines(one.story, list(one.ledger.events())))
        assert commands(lines) == set() and "<script>" in lines


CHAT = ("/status", "/help", "/leaderboard", "/show p0-0", "/show p0-1", "/show t10", "/log t10",
        "/why p0-0", "/directives", "/events 40", "/recall loud", HOSTILE)  # fmt: skip


@pytest.mark.parametrize("line", CHAT, ids=range(len(CHAT)))
def test_an_answer_of_the_chat_commands_no_terminal(hostile_run: RunFolder, line: str) -> None:
    with hostile_run.ledger() as ledger:
        chat = Chat(hostile_run, ledger, hostile_run.archive(read_only=True))
        said = chat.answer(line)
    assert said and commands(said) == set()


def test_the_player_shows_every_event_without_obeying_it(hostile_run: RunFolder) -> None:
    with reading("bad", hostile_run.path.parent) as one, create_pipe_input() as pipe:
        stepper = Stepper(one, one.ledger.events())
        player = Player(stepper, list, input=pipe, output=DummyOutput())
        for _ in stepper.events:
            shown = fragment_list_to_text(player._rows())
            shown += "".join(fragment_list_to_text(line) for line in player._lines(100))
            assert commands(shown) == set(), stepper.here.kind
            stepper.do("n")


@pytest.fixture
def client(hostile_run: RunFolder) -> Iterator[TestClient]:
    with reading("bad", hostile_run.path.parent) as one:
        yield TestClient(make_app(Watched(one)), base_url="http://127.0.0.1")


PAGES = ("/", "/frontier", "/timeline", "/show/p0-0", "/show/p0-1", "/show/t10", "/show/best",
         *(f"/event/{number}" for number in range(1, 12)), f"/timeline?q={MARKUP}")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_a_page_holds_words_as_words(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    _holds_text(answer.text)


def test_a_line_of_the_timeline_has_an_end(client: TestClient) -> None:
    assert "A" * 401 not in client.get("/timeline").text


def test_the_report_holds_words_as_words(hostile_run: RunFolder, tmp_path: Path) -> None:
    novum("report", "-o", str(tmp_path / "r.html"))
    text = (tmp_path / "r.html").read_text()
    _holds_text(text)
    assert "It is the best of" not in text and "2 ideas were tried" in text  # nothing is claimed
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "[bold]loud[/bold]" in text


def _holds_text(page: str) -> None:
    assert "<script>alert" not in page and "<img" not in page
    assert commands(page) == set()
