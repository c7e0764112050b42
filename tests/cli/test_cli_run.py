"""Running, measuring and making packs through the command line, with a pack that costs nothing."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from novum.app.cli import app
from novum.errors import UsageError
from novum.lab.run import RunFolder, find_run

GRADER = '''
"""Lower values are better; the seed adds noise."""
import math
import random

from novum.benchmarks.protocol import Graded


class Grader:
    def __init__(self, folder, profile, cache):
        pass

    def prepare(self):
        return "none"

    def trial(self, context):
        scope = {}
        exec(context.request.files["train.py"], scope)  # the test's own file
        noise = random.Random(context.request.seed).gauss(0.0, 0.01)
        off = abs(math.log(scope["WIDTH"] / 8.0)) + abs(math.log(scope["RATE"] / 0.1)) / 2
        return Graded(1.0 + off / 2 + noise)
'''


def novum(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "quick"
    (folder / "start" / "one").mkdir(parents=True)
    (folder / "start" / "one" / "train.py").write_text(
        "WIDTH = 4.0\nRATE = 0.3\n\n\ndef main():\n    return WIDTH, RATE\n"
    )
    (folder / "task.md").write_text("Lower the loss.\n")
    (folder / "grade.py").write_text(GRADER)
    (folder / "pack.toml").write_text(
        'id = "quick"\ntitle = "Quick"\nmetric = { name = "loss", better = "lower" }\n'
        'editable = ["train.py"]\ndefault_start = "one"\nmax_jump = 0.9\n'
        "[profiles.cpu]\nbudget_s = 1\n"
    )
    return folder


def test_a_run_ends_with_a_confirmed_champion_and_can_be_gone_on_with(pack: Path) -> None:
    # One after another: which of two threads is first decides what is left to try of two constants.
    alone = ("--threads", "1", "--slots", "1", "--sandbox", "process")
    said = novum("run", str(pack), "--experiments", "5", *alone, "--json")
    assert said.exit_code == 0, said.output
    told = [json.loads(line) for line in said.stdout.splitlines()]
    assert {"proposal", "trial.ended", "verdict", "champion"} <= {t["kind"] for t in told}
    outcome = told[-1]
    assert (outcome["kind"], outcome["state"], outcome["n_ideas"]) == ("outcome", "confirmed", 5)
    assert outcome["gain"] > 0.03
    run = find_run(Path("runs"), "quick-1")
    assert run.info["settings"]["benchmark"] == str(pack)
    assert run.anchor() is not None

    more = novum("resume", "quick-1", "--experiments", "6", "--plain")
    assert more.exit_code == 0, more.output
    assert "6 ideas tried" in more.stdout, more.stdout[-900:]
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        assert not ledger.counts().get("trials.launched")


def test_who_cannot_go_on_with_a_run_is_told_why_and_what_to_do(pack: Path) -> None:
    begun = novum("run", str(pack), "--experiments", "1", "--sandbox", "process", "--plain")
    assert begun.exit_code in (0, 3, 4), begun.output
    with RunFolder.open(Path("runs/quick-1")).lock():
        said = novum("resume", "quick-1", "--experiments", "9")
    assert said.exit_code == 2
    assert "RunBusy: run quick-1 is in use by process" in said.stderr

    (pack / "grade.py").write_text(f"{GRADER}\n# another grader\n")
    said = novum("resume", "quick-1", "--experiments", "9")
    assert said.exit_code == 1 and "measured with another harness" in said.stderr
    assert "Start a new run" in said.stderr and "goes on from there" not in said.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nothere"], "UnknownName: no pack 'nothere'. Installed:"),
        (["run", "PACK", "--profile", "big"], "pack quick has no profile 'big'; it has cpu"),
        (["run", "PACK", "--start", "two"], "pack quick has no start 'two'; it has one"),
        (["run", "PACK", "--brain", "oracle"], "no brain 'oracle'"),
        (["run", "PACK", "--policy", "luck"], "no search policy 'luck'"),
        (["run", "PACK", "--wall", "soon"], "'soon' is no time; write 90s, 12m"),
        (["run", "PACK", "--threads", "0"], "threads = 0 (the command line)"),
        (["run", "PACK", "--sandbox", "jail"], "sandbox.kind = 'jail'"),
        (["resume", "nothere"], "no run 'nothere'"),
        (["evaluate", "one", "--pack", "nothere"], "no pack 'nothere'"),
        (["evaluate", "nowhere", "--pack", "PACK"], "there is no candidate at nowhere"),
        (["eval", "nothere"], "no suite 'nothere'; there is "),
        (["packs", "new", "Bad Name"], "cannot name a pack"),
    ],
)
def test_wrong_words_are_bad_usage_with_a_remedy_and_leave_no_folder(
    pack: Path, words: list[str], message: str
) -> None:
    said = novum(*[str(pack) if word == "PACK" else word for word in words])
    assert said.exit_code == 2, said.output
    assert message in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(Path().glob("runs/*"))


def test_a_bug_leaves_its_traceback_in_a_file_and_not_on_the_screen(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("novum.benchmarks.pack.find_pack", broken)
    monkeypatch.setattr("novum.app.guard._folder", Path())
    said = novum("packs", "show", "x")
    assert said.exit_code == 1
    assert "a bug of Novum's: ZeroDivisionError: a bug" in said.stderr
    assert "Traceback" not in said.stderr
    (file,) = Path().glob("novum-bug-*.txt")
    assert "ZeroDivisionError" in file.read_text()


@pytest.mark.parametrize(
    "fault, remedy",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "DiskFull: no room is left"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "Permission denied: runs"),
        (
            ExceptionGroup("two", [ValueError("x"), OSError(errno.ENOSPC, "No space left")]),
            "Free some space",
        ),
        (ExceptionGroup("two", [UsageError("say it so"), UsageError("b")]), "UsageError: say it"),
    ],
)
def test_what_the_machine_lacks_is_no_bug_of_ours(
    pack: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, remedy: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("novum.benchmarks.pack.find_pack", broken)
    said = novum("packs", "show", "x")
    assert said.exit_code in (1, 2)
    assert remedy in said.stderr and "bug" not in said.stderr
    assert not list(Path().glob("novum-bug-*.txt"))


def test_an_unknown_split_or_kind_or_event_is_bad_usage(pack: Path) -> None:
    said = novum("evaluate", "one", "--pack", str(pack), "--split", "other")
    assert said.exit_code == 2 and "there is search, and sealed" in said.stderr
    said = novum("replay", "--demo", "--kind", "other")
    assert said.exit_code == 2 and "answer, candidate" in said.stderr
    said = novum("replay", "--demo", "--event", "99999")
    assert said.exit_code == 2 and "numbered from 1 to" in said.stderr


def test_evaluate_measures_a_folder_a_file_and_a_start(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("WIDTH = 8.0\nRATE = 0.1\n")
    for candidate in ("one", str(pack / "start" / "one"), str(tmp_path / "train.py")):
        said = novum(
            "evaluate", candidate, "--pack", str(pack), "--trials", "2", "--sandbox", "process",
            "--seed", "5", "--json",
        )  # fmt: skip
        assert said.exit_code == 0, said.output
        first, _ = (json.loads(line) for line in said.stdout.splitlines())
        assert first["seed"] == 5
        assert first["metric"] == pytest.approx(1.0 if "train.py" in candidate else 1.62, abs=0.05)


def test_a_new_pack_keeps_the_contract_and_a_broken_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert novum("packs", "new", "mine").exit_code == 0
    assert novum("packs", "new", "mine").exit_code == 2
    said = novum("packs", "check", "mine", "--sandbox", "process")
    assert said.exit_code == 0, said.output
    for kept in ("is deterministic", "catches cheat batch", "leaves nothing behind"):
        assert f"ok   {kept}" in said.stdout
    assert "fourier" in novum("packs", "show", "mine").stdout

    (tmp_path / "mine" / "cheats" / "batch.py").unlink()
    (tmp_path / "mine" / "README.md").unlink()
    said = novum("packs", "check", "mine", "--sandbox", "process")
    assert said.exit_code == 1
    assert "FAIL says what it is" in said.stdout
    assert "FAIL ships a cheat" in said.stdout


def test_the_packs_that_ship_are_listed() -> None:
    assert "nanochat" in novum("packs", "list").stdout


def test_a_pack_shows_for_each_profile_what_it_must_reach_and_from_where() -> None:
    shown = novum("packs", "show", "speedrun").stdout
    cpu = shown.partition("profile     cpu:")[2].partition("profile     gpu1")[0]
    assert "corpus python" in cpu and "from naive" in cpu
    assert "loss at most 6.158 (sealed 6.12), p < 0.01 over 5 declared trials" in cpu
    shown = novum("packs", "show", "nanochat").stdout
    assert "from vanilla; also modern\n" in shown and "from vanilla_gpu; also modern_gpu\n" in shown


def test_text_of_ones_own_is_taken_by_its_name_or_refused_with_what_is_enough(
    tmp_path: Path,
) -> None:
    (tmp_path / "small.txt").write_text("A text that is too small. " * 20)
    for command in (["packs", "prepare", "nanochat"], ["evaluate", "vanilla"], ["run", "nanochat"]):
        sandbox = [] if command[0] == "packs" else ["--sandbox", "process"]
        runs = ["--runs", str(tmp_path / "runs")] if command[0] == "run" else []
        said = novum(*command, "--corpus", f"text:{tmp_path / 'small.txt'}", *sandbox, *runs)
        assert said.exit_code == 1 and "too small" in said.stderr and "are enough" in said.stderr
    assert not (tmp_path / "runs").exists()
    said = novum("packs", "prepare", "nanochat", "--corpus", "novels")
    assert said.exit_code == 1 and "unknown corpus 'novels'" in said.stderr
    said = novum("packs", "prepare", "nanochat", "--corpus", "linux", "--problems", str(tmp_path))
    assert said.exit_code == 2 and "exclude each other" in said.stderr
