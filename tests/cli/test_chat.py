"""`novum chat`: answers from the records, directives that the run obeys, no model needed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from typer.testing import CliRunner

from novum.app.chat import Chat
from novum.app.cli import app
from novum.app.completion import Words
from novum.app.numbers import percent
from novum.app.reading import reading
from novum.lab.run import RunFolder


@pytest.fixture
def chat(made_run: RunFolder) -> Iterator[Chat]:
    with made_run.ledger() as ledger:
        yield Chat(made_run, ledger, made_run.archive(read_only=True))


def completions(chat: Chat, text: str) -> list[str]:
    found = Words(chat).get_completions(Document(text), CompleteEvent())
    return [c.text for c in found]


def test_status_leaderboard_and_why_cite_the_records(chat: Chat) -> None:
    said = chat.answer("/status")
    assert "no process works on it" in said and "3 ideas, 16 trials" in said
    assert "v-certify-1 confirmed" in said
    assert "p0-0 (v-certify-1)" in chat.answer("/leaderboard")
    why = chat.answer("/why p0-0")
    assert "Depth helps because features compose" in why
    assert "e-p0-0 race pass: t 4.2 reached the bound" in why and "t7 race" in why


def test_show_has_the_change_of_a_candidate_by_any_name(chat: Chat) -> None:
    champion = chat.ledger.champion()
    assert champion is not None
    for name in ("p0-0", "champion", champion[0][:8]):
        assert "+DEPTH = 4" in chat.answer(f"/show {name}")
    assert "loss is nan" in chat.answer("/show t12")
    assert "is named 'nothing'" in chat.answer("/show nothing")


def test_an_idea_goes_by_the_number_that_every_view_gives_it(chat: Chat) -> None:
    with reading("demo", None) as one:
        numbers = {idea.number: idea.proposal.id for idea in one.story.ideas.values()}
    for number, id in numbers.items():
        assert chat.answer(f"/why #{number}") == chat.answer(f"/why {id}")
    assert "there is no idea #9; there are 3" in chat.answer("/show #9")


def test_a_gain_says_what_it_is_counted_in(chat: Chat) -> None:
    said = chat.answer("/why certify-1")
    assert "gain +0.54 bit/byte (+0.44 to +0.64), +18.7 % (+15.3 to +22.2 %), p = 0.002" in said
    with reading("demo", None) as one:
        for verdict in one.story.verdicts:
            part = percent(one.story.relative(verdict)[0])
            assert f"{part} (" in chat.answer(f"/why {verdict.proposal}")
    assert "+18.7 %" in chat.answer("/leaderboard")


def test_directives_stand_until_withdrawn_and_the_later_of_two_that_clash_stands(
    chat: Chat,
) -> None:
    assert chat.answer("/directive Look at the optimiser.").startswith("d1 stands")
    tree = chat.ledger.candidates()[0].tree
    other = chat.ledger.candidates()[1].tree
    assert chat.answer(f"/pin {tree[:10]}").startswith("d2 stands")
    assert "withdrawn: d2" in chat.answer(f"/pin {other[:10]}")
    assert chat.answer("/budget experiments=9 wall=2h").startswith("d4 stands")
    assert "withdrawn: d4" in chat.answer("/budget wall=3h")
    assert "wall_s 10800" in chat.answer("/budget")
    assert "withdrawn" not in chat.answer("/pause")
    assert "withdrawn: d6" in chat.answer("/stop")
    assert chat.answer("/resume") == "withdrawn: d7; the run goes on"
    assert chat.answer("/resume") == "nothing held the run"
    assert chat.answer("/withdraw d1") == "d1 is withdrawn"
    assert "no directive 'd1' stands" in chat.answer("/withdraw d1")
    listed = chat.answer("/directives").splitlines()
    assert [line.split()[1] for line in listed][:3] == ["withdrawn", "withdrawn", "standing"]
    chat.ledger.verify()


def test_a_branch_is_banned_by_its_tree_and_a_pin_on_it_ends(chat: Chat) -> None:
    start, deep = (c.tree for c in chat.ledger.candidates()[:2])
    assert chat.answer(f"/pin {deep[:10]}").startswith("d1 stands")
    assert "withdrawn: d1" in chat.answer(f"/ban {deep[:10]}")
    assert chat.ledger.directives()[1].action == {"ban_branch": deep}
    assert "withdrawn: d2" in chat.answer(f"/pin {deep[:10]}")
    assert "cannot be banned" in chat.answer(f"/ban {start[:10]}")
    assert f"Start from {deep[:10]}" in chat.answer("/pin champion")


def test_a_fork_is_a_run_of_its_own_that_was_told_something_else(chat: Chat) -> None:
    said = chat.answer("/fork p1-0 Try data instead.")
    assert said.startswith("demo-fork-1 begins as this run was at event p1-0")
    folder = RunFolder.open(chat.run.path.parent / "demo-fork-1")
    with folder.ledger(read_only=True) as ledger:
        assert [p.id for p in ledger.proposals()] == ["p0-0", "p1-0"]
        assert [d.text for d in ledger.directives(standing=True)] == ["Try data instead."]
    assert "there is no event 'p9-9'" in chat.answer("/fork p9-9")
    assert "say from where" in chat.answer("/fork")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hello", "`/directive TEXT` tells the planner"),
        ("/stauts", "Did you mean /status?"),
        ("/budget money=3", "no budget 'money'"),
        ("/budget wall=soon", "'soon' is no value for wall"),
        ("/pin ffffffff", "no candidate begins with"),
        ("/directive", "has 1 to 2000 characters"),
        ("/ban no-such-thing", "no technique or kind is called"),
        ("/why", "say which"),
        ("/propose", "say what"),
    ],
)
def test_what_cannot_be_understood_is_said_and_changes_nothing(
    chat: Chat, line: str, said: str
) -> None:
    assert said in chat.answer(line)
    assert not chat.ledger.directives()


def test_words_are_completed(chat: Chat) -> None:
    assert completions(chat, "/st") == ["/status", "/stop"]
    chat.answer("/directive Go.")
    assert completions(chat, "/withdraw ") == ["d1"]
    assert completions(chat, "/budget wall=2h exp") == ["experiments="]
    assert "optimiser" in completions(chat, "/ban opt")
    assert "p0-0" in completions(chat, "/why p")
    assert set(completions(chat, "/")) == {f"/{name}" for name in chat.commands}


def test_two_chats_at_once_give_each_directive_an_id_of_its_own(made_run: RunFolder) -> None:
    with made_run.ledger() as one, made_run.ledger() as two:
        archive = made_run.archive(read_only=True)
        chats = [Chat(made_run, ledger, archive) for ledger in (one, two)]
        said = [c.answer("/directive Go.") for c in chats * 3]
        assert [s.split()[0] for s in said] == [f"d{i}" for i in range(1, 7)]
        one.verify()


def test_a_pipe_is_read_line_by_line_and_the_transcript_is_kept(made_run: RunFolder) -> None:
    lines = "/status\n/propose DEPTH=6\n/quit\n/stop\n"
    said = CliRunner().invoke(app, ["chat", "demo"], input=lines)
    assert said.exit_code == 0, said.stderr
    assert "> /propose DEPTH=6\nd1 stands: Try: DEPTH=6" in said.stdout
    kept = [json.loads(x) for x in (made_run.path / "chat.jsonl").read_text().splitlines()]
    assert [k["you"] for k in kept] == ["/status", "/propose DEPTH=6", "/quit"]
    with made_run.ledger(read_only=True) as ledger:
        (directive,) = ledger.directives()
    assert directive.action["idea"]["move"] == {"set": {"DEPTH": "6"}}
    assert time.time() - directive.created_s < 600
