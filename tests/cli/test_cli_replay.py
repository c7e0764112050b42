"""`novum replay`: a timeline in a pipe, a walk on a terminal, a comparison with the records."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner, Result

from novum.app.cli import app
from novum.app.reading import reading
from novum.app.steps import Stepper
from novum.lab.run import RunFolder


def novum(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def text(shown: RenderableType | None) -> str:
    console = Console(width=200, highlight=False)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_a_pipe_gets_a_line_for_every_event_and_filters(made_run: RunFolder) -> None:
    lines = novum("replay", "demo").stdout.splitlines()
    with made_run.ledger(read_only=True) as ledger:
        assert len(lines) == ledger.anchor().seq
    only = novum("replay", "demo", "--kind", "verdict").stdout.splitlines()
    assert only and all(" verdict " in line for line in only)
    assert "Depth helps" in novum("replay", "demo", "--grep", "depth helps").stdout


def test_the_export_holds_every_event_whole(made_run: RunFolder) -> None:
    told = [json.loads(line) for line in novum("replay", "--json").stdout.splitlines()]
    assert [e["seq"] for e in told] == list(range(1, len(told) + 1))
    assert all(a["digest"] == b["previous"] for a, b in zip(told, told[1:], strict=False))


def test_one_event_is_shown_with_what_it_holds(made_run: RunFolder) -> None:
    with made_run.ledger(read_only=True) as ledger:
        verdict = ledger.events(kinds=["verdict"])[0]
    said = novum("replay", "--event", str(verdict.seq))
    assert "+DEPTH = 4" in said.stdout
    assert "numbered from 1 to" in novum("replay", "--event", "99999").stderr


def test_a_person_steps_jumps_searches_and_filters(made_run: RunFolder) -> None:
    with reading("demo", None) as one:
        stepper = Stepper(one, one.ledger.events())
        assert stepper.do("n") is not None and stepper.here.seq == 2
        stepper.do("p")
        assert stepper.here.seq == 1
        assert "that was the first one" in text(stepper.do("p"))
        stepper.do("/ depth HELPS")
        assert stepper.here.kind == "proposal" and "Depth helps" in text(stepper.do("v"))
        stepper.do("k trial.ended")
        stepper.do("")
        assert stepper.here.kind == "trial.ended"
        assert "there is no kind 'x'" in text(stepper.do("k x"))
        assert text(stepper.do("l")).count("trial.ended") > 3
        stepper.do("k")
        stepper.do("j 3")
        assert stepper.here.seq == 3
        assert "numbered from 1" in text(stepper.do("j 0"))
        assert "no event after this one" in text(stepper.do("/nowhere to be found"))
        assert "jump to event" in text(stepper.do("?"))
        assert stepper.do("q") is None


def test_verify_reports_the_first_event_that_the_machine_does_not_make(
    made_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = novum("replay", "demo", "--verify")
    assert said.exit_code == 1
    assert "made again 0 of" in said.stdout and "first difference: event 1" in said.stdout


def test_a_trace_that_was_cut_is_shown_with_a_warning(made_run: RunFolder) -> None:
    with closing(sqlite3.connect(made_run.ledger_path)) as db, db:
        db.execute("delete from events where seq > 12")
    said = novum("replay", "demo")
    assert len(said.stdout.splitlines()) == 12
    assert "do not trust this trace: the chain ends at event 12" in said.stderr
