"""The recorded run that ships with the package can be looked at and verified by its chain."""

from __future__ import annotations

from importlib.resources import files

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from novum.app.cli import app
from novum.app.demo import demo_run
from novum.app.serve_commands import opened
from novum.app.web.app import make_app
from novum.app.web.watched import Watched
from novum.lab.records import Candidate, Label


def test_the_recording_is_whole_and_small_and_names_no_folder_of_its_machine() -> None:
    packed = (files("novum.app") / "demo.zip").read_bytes()
    assert len(packed) < 1_500_000
    with demo_run() as run:
        anchor = run.anchor()
        with run.ledger(read_only=True) as ledger:
            ledger.verify(anchor)
            assert anchor is not None and anchor.seq == ledger.anchor().seq
            labels = {v.label for v in ledger.verdicts()}
            events = ledger.events()
            answers = [e for e in events if e.kind == "answer"]
            texts = [run.blobs.text(e.payload["blob"]) for e in answers]
            texts += [run.blobs.text(t.log_blob) + t.error for t in ledger.trials()]
        assert {Label.PROMISING, Label.CONFIRMED} <= labels and len(labels) >= 3
        assert len(events) > 300 and len(answers) > 20
        told = "\n".join([*texts, *(str(e.payload) for e in events), str(run.info)])
        assert not any(place in told for place in ("/root/", "/home/", "/tmp/novum", "/work"))
        path = run.path
    assert not path.exists()


def test_the_demo_is_replayed_in_a_pipe_and_exported() -> None:
    said = CliRunner().invoke(app, ["replay", "--demo", "--kind", "verdict"])
    assert said.exit_code == 0 and "promising" in said.stdout and said.stderr == ""
    said = CliRunner().invoke(app, ["export", "--demo", "--format", "otlp"])
    assert "invoke_workflow novum" in said.stdout
    assert CliRunner().invoke(app, ["replay", "x", "--demo"]).exit_code == 2


@pytest.mark.parametrize("page", ["/", "/frontier", "/timeline", "/show/champion", "/event/100"])
def test_every_page_of_the_demo_is_drawn(page: str) -> None:
    with opened(None, None, True) as one:
        client = TestClient(make_app(Watched(one, is_demo=True)), base_url="http://127.0.0.1")
        answer = client.get(page)
        assert answer.status_code == 200 and "This is a recording" in answer.text
        assert client.post("/act/pause", data={"token": "x"}).status_code == 403


def test_a_champion_that_won_no_race_leads_the_frontier_all_the_same() -> None:
    with opened(None, None, True) as one:
        client = TestClient(make_app(Watched(one, is_demo=True)), base_url="http://127.0.0.1")
        text = client.get("/frontier").text
        best = one.find("champion")
        assert isinstance(best, Candidate) and (owner := one.owner(best)) is not None
        assert owner.verdict is not None and owner.verdict.label is not Label.PROMISING
    assert text.index("✔ champion") < text.index("▲ promising")
