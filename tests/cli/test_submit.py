"""`novum checkout` and `novum submit`: a candidate goes out, is changed, and comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from novum.agents.outside import unpacked
from novum.app.cli import app
from novum.app.handing import hand_in
from novum.errors import UsageError
from novum.lab.records import Candidate
from novum.lab.run import RunFolder

PACK = Path(__file__).parent.parent / "packs" / "climb"


def novum(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.create(
        tmp_path / "runs",
        "demo",
        benchmark="climb",
        profile="tiny",
        settings={"benchmark": str(PACK)},
        about={"metric": {"name": "loss", "unit": "", "better": "lower"}},
    )
    with folder.ledger() as ledger:
        files = {"solve.py": (PACK / "start" / "plain" / "solve.py").read_bytes()}
        tree, commit = folder.archive().put(files, (), "Start", {}, 0.0)
        ledger.add_candidate(Candidate(tree, commit, (), "start:plain", "Start"))
    return folder


def idea_of(run: RunFolder) -> dict[str, Any]:
    with run.ledger(read_only=True) as ledger:
        (directive,) = ledger.directives()
    idea: dict[str, Any] = directive.action["idea"]
    return idea | {"all": unpacked(run.blobs.get(idea["move"]["files"]))}


def test_a_candidate_is_checked_out_changed_and_handed_in(run: RunFolder, tmp_path: Path) -> None:
    said = novum("checkout", "work", "demo")
    assert said.exit_code == 0 and "novum submit demo --folder work" in said.stdout
    file = tmp_path / "work" / "solve.py"
    file.write_text(file.read_text().replace("RATE = 0.5", "RATE = 1.0"))
    (tmp_path / "work" / "__pycache__").mkdir()
    (tmp_path / "work" / "__pycache__" / "x.pyc").write_bytes(b"x")
    said = novum("submit", "demo", "--folder", "work", "--hypothesis", "A rate of 1", "--json")
    assert said.exit_code == 0, said.stderr
    assert json.loads(said.stdout) == {"directive": "d1", "run": "demo"}
    idea = idea_of(run)
    assert b"RATE = 1.0" in idea["all"]["solve.py"] and set(idea["all"]) == {"solve.py"}
    assert len(idea["parents"]) == 1 and idea["hypothesis"] == "A rate of 1"
    assert novum("checkout", "work", "demo").exit_code == 2


def test_a_patch_is_handed_in(run: RunFolder, tmp_path: Path) -> None:
    diff = "--- a/solve.py\n+++ b/solve.py\n@@ -3,3 +3,3 @@\n WIDTH = 4\n-RATE = 0.5\n+RATE = 2.0\n"
    (tmp_path / "x.patch").write_text(diff + " DEPTH = 2\n")
    said = novum("submit", "demo", "--patch", "x.patch", "--hypothesis", "Faster")
    assert said.exit_code == 0, said.stderr
    assert "novum resume demo" in said.stderr
    assert b"RATE = 2.0" in idea_of(run)["all"]["solve.py"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--folder", "work"), "say what you expect"),
        (("--folder", "work", "--hypothesis", "x", "--kind", "magic"), "no kind 'magic'"),
        (("--hypothesis", "x"), "either --folder or --patch"),
        (("--folder", "same", "--hypothesis", "x"), "changes nothing"),
        (("--folder", "more", "--hypothesis", "x"), "grade.py is not editable"),
        (("--folder", "nowhere", "--hypothesis", "x"), "nowhere is no folder"),
        (("--patch", "bad.patch", "--hypothesis", "x"), "cannot be handed in"),
        (("--folder", "work", "--hypothesis", "x", "--parent", "ffff"), "nothing named 'ffff'"),
    ],
)
def test_what_cannot_be_tested_is_refused_at_once(
    run: RunFolder, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    for name in ("work", "same", "more"):
        shutil.copytree(PACK / "start" / "plain", tmp_path / name)
    (tmp_path / "work" / "solve.py").write_text("RATE = 1\n")
    (tmp_path / "more" / "grade.py").write_text("cheat\n")
    (tmp_path / "bad.patch").write_text("not a diff")
    said = novum("submit", "demo", *words)
    assert said.exit_code == 2
    assert message in said.stderr
    with run.ledger(read_only=True) as ledger:
        assert not ledger.directives()


def test_nothing_is_handed_in_to_a_run_that_is_not_isolated_unless_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    RunFolder.create(
        tmp_path / "runs",
        "open",
        benchmark="climb",
        profile="tiny",
        settings={"benchmark": str(PACK)},
        about={"sandbox": "process"},
    )
    with RunFolder.open(tmp_path / "runs" / "open").ledger() as ledger:
        with pytest.raises(UsageError, match="bubblewrap"):
            hand_in(
                RunFolder.open(tmp_path / "runs" / "open"),
                ledger,
                {"solve.py": b""},
                parent="0",
                hypothesis="h",
                kind="constants",
                author="user",
            )
