"""Making a pack of a project: what is taken, what is refused and why, what the trial runs show."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from novum.benchmarks.command.reading import NoNumber, as_number, last_match, parse_source
from novum.benchmarks.command.repository import read_project
from novum.benchmarks.pack import load_pack
from novum.errors import UsageError

from .conftest import LOSS, SCRIPT, TRAIN, Project, init, novum


def test_one_command_makes_a_pack_that_keeps_the_contract(project: Project) -> None:
    project(SCRIPT)
    said = init(*TRAIN, "--heldout", "python final.py", "--hidden", "final.py", "--keep", "*.txt")
    assert said.exit_code == 0, said.output
    assert "val_loss (self-reported: the project says so itself):" in said.stdout
    assert "to show a gain of 5% takes about" in said.stdout
    assert "novum run project-pack" in said.stdout
    pack = load_pack(Path("project-pack"))
    assert pack.manifest.self_reported and pack.profile().noise_trials == 8
    assert sorted(pack.start_files()) == [".gitignore", "data.py", "train.py"]
    checked = novum("packs", "check", "project-pack", "--sandbox", "process")
    assert checked.exit_code == 0, checked.output
    assert "catches cheat prints_the_metric" in checked.stdout
    assert "(self-reported)" in novum("evaluate", "original", "--pack", "project-pack",
                                      "--sandbox", "process").stdout  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--run, --metric, --better, --editable must be given"),
        ((*TRAIN, "--metric", "val_loss: [0-9.]+"), "has no groups; put the number"),
        ((*TRAIN, "--metric", "(val)_loss: ([0-9.]+)"), "has 2 groups"),
        ((*TRAIN, "--metric", "val_loss: ([0-9.]+"), "cannot be read: missing )"),
        ((*TRAIN, "--metric", "accuracy: ([0-9.]+)"), "nothing it printed matches"),
        ((*TRAIN, "--metric", "val_loss: ([a-f]+)"), "where the number goes, '"),
        ((*TRAIN, "--metric", "json:out.json:loss"), "it left no file out.json"),
        ((*TRAIN, "--metric", "json:../out.json:loss"), "names no number in a JSON file"),
        ((*TRAIN, "--metric", "harness:joules"), "the harness measures wall_s, cpu_s"),
        ((*TRAIN, "--better", "smaller"), "--better is lower or higher, not 'smaller'"),
        ((*TRAIN, "--editable", "src/*.py"), "--editable 'src/*.py' matches no file"),
        ((*TRAIN, "--hidden", "*.csv"), "--hidden '*.csv' matches no file"),
        ((*TRAIN, "--guard", "speed: ([0-9]+)"), "write 'NAME lower|higher MARGIN% PATTERN'"),
        ((*TRAIN, "--guard", "speed lower 5%"), "says not where speed stands"),
        ((*TRAIN, "--grade", "python judge.py"), "names no file of the project"),
        ((*TRAIN, "--grade", "python train.py"), "so it cannot be editable"),
        ((*TRAIN, "--grade", "python data.py", "--heldout", "ls"), "a grading program measures"),
        ((*TRAIN, "--mount", "nowhere"), "there is no such folder"),
        ((*TRAIN, "--budget", "soon"), "'soon' is no time"),
        ((*TRAIN, "--run", "python 'train.py"), "No closing quotation"),
        ((*TRAIN, "--run", "python missing.py"), "can't open file"),
        ((*TRAIN, "--run", "/nowhere/python train.py"), "there is no program /nowhere/python"),
        ((*TRAIN, "--check", "python -c 'import sys; sys.exit(3)'"), "check failed (exit code 3)"),
        ((*TRAIN, "--heldout", "python -c 'print(1)'"), "the trial for a claim does not give"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_reason_and_nothing_is_written(
    project: Project, words: tuple[str, ...], message: str
) -> None:
    project(SCRIPT)
    said = init(*words)
    assert said.exit_code == 2, said.output
    assert message in said.stderr, said.stderr
    assert "Traceback" not in said.stderr
    assert os.listdir() == ["project"]


@pytest.mark.parametrize("printed", ["nan", "inf"])
def test_a_metric_that_is_no_number_is_refused(project: Project, printed: str) -> None:
    project(SCRIPT | {"train.py": f"print('val_loss: {printed}')\n"})
    assert f"'{printed}'" in init(*TRAIN).stderr
    loose = init(*TRAIN, "--metric", r"val_loss: (\S+)")
    assert f"its metric is {printed}" in loose.stderr


def test_a_metric_that_does_not_vary_is_said_to_be_deterministic_or_blind(project: Project) -> None:
    project(SCRIPT | {"train.py": "x = 7\nprint('val_loss:', x / 2)\n"})
    said = init(*TRAIN)
    assert said.exit_code == 0, said.output
    assert "It did not vary" in said.stdout and "$NOVUM_SEED" in said.stdout
    assert load_pack(Path("project-pack")).manifest.deterministic


def test_of_several_numbers_the_last_counts_and_that_is_said(project: Project) -> None:
    loop = "    for _ in range(steps):"
    text = SCRIPT["train.py"].replace(loop, f'    print("val_loss: 9")\n{loop}')
    project(SCRIPT | {"train.py": text})
    said = init(*TRAIN)
    assert "note: the pattern matches 2 times in a run; the last one counts" in said.stderr
    assert "val_loss (self-reported: the project says so itself): 0." in said.stdout


def test_files_that_the_command_itself_rewrites_are_noted_and_allowed(project: Project) -> None:
    text = SCRIPT["train.py"] + "    open('history.txt', 'a').write('ran')\n"
    project(SCRIPT | {"train.py": text, "history.txt": ""})
    said = init(*TRAIN)
    assert "note: the command rewrites history.txt" in said.stderr
    assert novum("packs", "check", "project-pack", "--sandbox", "process").exit_code == 0


def test_a_project_of_git_is_taken_as_git_sees_it(project: Project) -> None:
    folder = project(SCRIPT | {"run.log": "ignored", "new.txt": "not added yet"})
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "train.py", "data.py"], check=True)
    (folder / "data.py").unlink()
    taken = read_project(folder, ["final.*"])
    assert taken.by_git
    assert sorted(taken.files) == [".gitignore", "new.txt", "train.py"]


def test_links_inside_become_files_and_links_that_lead_out_are_refused(project: Project) -> None:
    folder = project({"a/one.py": "x = 1\n", "run.sh": "#!/bin/sh\n"})
    (folder / "run.sh").chmod(0o755)
    (folder / "b").symlink_to("a")
    (folder / "two.py").symlink_to("a/one.py")
    taken = read_project(folder)
    assert sorted(taken.files) == ["a/one.py", "b/one.py", "run.sh", "two.py"]
    assert taken.executable == ("run.sh",)
    (folder / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="passwd is a link that leads out of the project"):
        read_project(folder)
    assert "passwd" not in read_project(folder, ["passwd"]).files


def test_a_file_too_large_for_a_candidate_is_named_with_the_way_around(project: Project) -> None:
    folder = project({"train.py": "x = 1\n"})
    (folder / "weights.bin").write_bytes(bytes(3 << 20))
    with pytest.raises(UsageError, match=r"weights.bin has 3,145,728 bytes.*--mount"):
        read_project(folder)


def test_the_last_match_counts_and_stderr_only_where_stdout_has_none() -> None:
    assert last_match("l: ([0-9.]+)", "l: 3\nl: 2\n", "l: 1\n") == ("2", "l: 2", 2)
    assert last_match("l: ([0-9.]+)", "done", "l: 1\n")[0] == "1"
    with pytest.raises(NoNumber, match="where the number goes, 'nan'"):
        last_match(r"l: ([0-9.]+)", "l: nan\n", "")
    assert as_number("0.51.") == 0.51 and as_number("1,024") == 1024
    assert parse_source("json:a/b.json:x.*.y").file == "a/b.json"


def test_questions_are_asked_on_a_terminal_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(SCRIPT)
    answers = iter(["python train.py", "val_loss: ([0-9.]+)", "lower", "train.py"])
    asked: list[str] = []

    def answer(question: str, default: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("novum.app.init_command._ask", answer)
    monkeypatch.setattr("novum.app.init_command._is_terminal", lambda: True)
    said = init()
    assert said.exit_code == 0, said.output
    assert [q.split()[0] for q in asked] == ["Command", "Pattern", "What", "Files"]
    assert init(*TRAIN[:2], *LOSS).exit_code == 1  # the answers have run out: it asked once more
