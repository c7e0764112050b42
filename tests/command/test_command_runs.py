"""Automatic runs on three shapes of projects, each to a confirmed improvement, and their cheats."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from novum.benchmarks.evaluate import Bench, failed_probes
from novum.benchmarks.pack import load_pack
from novum.benchmarks.protocol import TrialResult
from novum.lab.records import Label, TrialStatus
from novum.lab.run import find_run
from novum.lab.trees import tree_hash

from .conftest import SCRIPT, TRAIN, Project, init, novum
from .projects import SUITE, SUITE_RUN, TIMED, TIMED_RUN

needs_hyperfine = pytest.mark.skipif(
    not (shutil.which("hyperfine") and shutil.which("cc")),
    reason="needs a C compiler and hyperfine: apt-get install gcc hyperfine",
)
needs_benchmark = pytest.mark.skipif(
    importlib.util.find_spec("pytest_benchmark") is None,
    reason="needs pytest-benchmark: pip install pytest-benchmark",
)


def research(*words: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`novum run` with the playbook; the outcome, and everything it told."""
    said = novum("run", "project-pack", "--sandbox", "process", "--json", *words)
    assert said.exit_code == 0, said.output
    told = [json.loads(line) for line in said.stdout.splitlines()]
    return told[-1], told


def trial(edits: Mapping[str, str | None], **given: Any) -> TrialResult:
    """One trial of the project with some files replaced, or deleted."""
    pack = load_pack(Path("project-pack"))
    bench = Bench.prepare(pack, None, sandbox="process", cache=Path("cache"))
    files = pack.start_files() | {k: v.encode() for k, v in edits.items() if v is not None}
    gone = [k for k, v in edits.items() if v is None]
    return bench.trial({k: v for k, v in files.items() if k not in gone}, 7, **given)


def quick(**replacements: str) -> None:
    """Fewer measurements of the start, as a user would set in pack.toml."""
    path = Path("project-pack/pack.toml")
    text = path.read_text().replace("noise_trials = 8", "noise_trials = 4")
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


HELD_OUT = ("--heldout", "python final.py", "--hidden", "final.py", "--keep", "line.txt")


@pytest.mark.slow
def test_a_script_that_prints_its_loss_is_improved_and_said_to_be_self_reported(
    project: Project,
) -> None:
    project(SCRIPT)
    assert init(*TRAIN, *HELD_OUT, "--max-jump", "0.95").exit_code == 0
    outcome, told = research("--experiments", "10")
    assert (outcome["state"], outcome["metric"]) == ("confirmed", "val_loss [self-reported]")
    assert outcome["gain"] > 0.1
    run = find_run(Path("runs"), "project-1")
    with run.ledger(read_only=True) as ledger:
        good = [v for v in ledger.verdicts() if v.label in (Label.PROMISING, Label.CONFIRMED)]
        assert all("the metric is self-reported" in v.reason for v in good) and good
        champion = good[-1].tree
    assert "final.py" not in run.archive().files(champion)  # never shown to a candidate
    report = novum("report", "project-1", "--output", "report.html")
    assert report.exit_code == 0, report.output
    assert "The metric is self-reported" in Path("report.html").read_text()


def test_a_printed_number_is_caught_by_reading_and_a_computed_one_on_held_out_data(
    project: Project,
) -> None:
    project(SCRIPT)
    assert init(*TRAIN, *HELD_OUT).exit_code == 0
    cheat = SCRIPT["train.py"].replace("{loss(line, load('validation')):.6f}", "{0.9 * 0.05:.6f}")
    assert trial({"train.py": cheat}).metric == pytest.approx(0.045)
    honest = trial({}, split="sealed").metric
    assert honest is not None and trial({"train.py": cheat}, split="sealed").metric == honest

    from novum.app.review import rejections

    pack = load_pack(Path("project-pack"))
    for line in ("print('val_loss: 0.04')", "print('val_loss:', 0.04)", "x = 'val_' + 'loss: 1'"):
        files = pack.start_files() | {"train.py": f"{line}\n".encode()}
        assert any("printed-metric" in reason for reason in rejections(pack, files)), line
    commented = SCRIPT["train.py"].replace("steps = 3", "steps = 4  # reached val_loss: 0.04")
    assert not rejections(pack, pack.start_files() | {"train.py": commented.encode()})


def test_what_may_not_be_edited_is_put_back_and_a_run_that_rewrites_it_is_a_hack(
    project: Project,
) -> None:
    project(SCRIPT)
    assert init(*TRAIN).exit_code == 0
    lenient = "def load(split):\n    return [(0, 0)]\n\ndef loss(line, points):\n    return 0.01\n"
    for edits in ({"data.py": lenient}, {"data.py": None}, {"sitecustomize.py": "x = 1"}):
        refused = trial(edits)
        assert (refused.status, refused.metric) == (TrialStatus.CRASHED, None)
        assert "not editable" in refused.error
    at_run_time = (
        f"import os\nos.chmod('data.py', 0o644)\nopen('data.py', 'w').write({lenient!r})\n"
    )
    rewritten = trial({"train.py": at_run_time + SCRIPT["train.py"]})
    assert failed_probes(rewritten) == ["fixed files"]


def test_a_model_that_edits_the_tests_is_refused_and_one_that_swaps_them_is_a_hack(
    project: Project,
) -> None:
    project(SCRIPT)
    assert init(*TRAIN).exit_code == 0
    start = tree_hash(load_pack(Path("project-pack")).start_files())
    lenient = "def load(split):\n    return [(0, 0)]\n\ndef loss(line, points):\n    return 0.05\n"
    swap = (
        "import pathlib\n"
        "place = pathlib.Path('data' + '.py')\n"
        f"place.unlink()\nplace.write_text({lenient!r})\n"
    )
    idea = {"hypothesis": "Lower loss", "kind": "data", "parents": [start], "move": {}}
    steps = [
        [["propose", idea]],
        [["write_file", {"path": "data.py", "text": lenient}]],
        [
            ["write_file", {"path": "train.py", "text": swap + SCRIPT["train.py"]}],
            ["submit", {"summary": "easier data"}],
        ],
    ]
    Path("script.jsonl").write_text("".join(json.dumps({"calls": s}) + "\n" for s in steps))
    said = novum(
        "run", "project-pack", "--sandbox", "process", "--json", "--experiments", "1",
        "--threads", "1", "--brain", "scripted:script.jsonl",
    )  # fmt: skip
    told = [json.loads(line) for line in said.stdout.splitlines()]
    verdicts = [t["payload"] for t in told if t["kind"] == "verdict"]
    assert [v["label"] for v in verdicts] == ["hack"], said.output
    assert "the run rewrote data.py" in verdicts[0]["reason"]
    run = find_run(Path("runs"), "project-1")
    with run.ledger(read_only=True) as ledger:
        asked = [e.payload["blob"] for e in ledger.events(kinds=["answer"])]
    assert "data.py is not editable" in " ".join(run.blobs.text(blob) for blob in asked)


def test_a_program_from_outside_measures_and_what_the_project_prints_is_only_a_claim(
    project: Project,
) -> None:
    folder = project(SCRIPT)
    (folder / "final.py").rename("judge.py")
    judge = Path("judge.py").read_text()
    where = 'os.path.join(os.environ["NOVUM_CANDIDATE"], "line.txt")'
    Path("judge.py").write_text("import os\n" + judge.replace('"line.txt"', where))
    assert init(*TRAIN, "--grade", "python judge.py").exit_code == 0
    assert not load_pack(Path("project-pack")).manifest.self_reported
    liar = SCRIPT["train.py"].replace("loss(line, load('validation'))", "0.001 * 2")
    result = trial({"train.py": liar + "    print(open('judge.py').read())\n"})
    assert "judge.py" in result.error  # it lies nowhere near the candidate
    asks = "import os\n" + liar + "    os.environ['NOVUM_SPLIT']\n"
    assert "KeyError" in trial({"train.py": asks}).error  # it cannot know what it is run for
    result = trial({"train.py": liar})
    assert result.claimed == {"metric": 0.002}
    assert result.metric is not None and result.metric > 0.05 and not result.self_reported


def test_a_solution_whose_file_is_compared_with_hidden_answers_is_measured_from_outside(
    project: Project,
) -> None:
    solution = "with open('submission.csv', 'w') as file:\n    file.write('1,0,1,{last}')\n"
    judge = (
        "import os, pathlib, sys\n"
        "wanted = pathlib.Path(sys.argv[1]).read_text().split(',')\n"
        "said = pathlib.Path(os.environ['NOVUM_CANDIDATE'], 'submission.csv').read_text()\n"
        "right = sum(a == b for a, b in zip(wanted, said.split(','), strict=True))\n"
        "print('score:', right / len(wanted))\n"
    )
    project({"solution.py": solution.format(last=0), "judge.py": judge, "answers.csv": "1,0,1,1"})
    said = init(
        "--run", "python solution.py", "--grade", "python judge.py answers.csv", "--hidden",
        "answers.csv", "--metric", "score: ([0-9.]+)", "--better", "higher", "--editable",
        "solution.py",
    )  # fmt: skip
    assert said.exit_code == 0 and "self-reported" not in said.output, said.output
    assert list(load_pack(Path("project-pack")).start_files()) == ["solution.py"]
    assert trial({"solution.py": solution.format(last=1)}).metric == 1.0
    peek = "open('submission.csv', 'w').write(open('answers.csv').read())\n"
    assert "No such file or directory: 'answers.csv'" in trial({"solution.py": peek}).error
    assert "grading program failed" in trial({"solution.py": "print('score: 1')\n"}).error


def test_an_evaluator_of_openevolve_is_a_command_like_any_other(project: Project) -> None:
    evaluator = (
        "import importlib.util\n\n"
        "def evaluate(program_path):\n"
        "    spec = importlib.util.spec_from_file_location('program', program_path)\n"
        "    program = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(program)\n"
        "    x, y = program.search()\n"
        "    return {'x': x, 'combined_score': 1 / (1 + (x - 3) ** 2 + (y + 1) ** 2)}\n"
    )
    program = "def search():\n    x = 2.0\n    y = -2.0\n    return x, y\n"
    project({"evaluator.py": evaluator, "initial_program.py": program})
    said = init("--openevolve", "evaluator.py", "--editable", "initial_program.py",
                "--max-jump", "3")  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "combined_score (self-reported" in said.stdout and "did not vary" in said.stdout
    assert trial({}).metric == pytest.approx(1 / 3)
    outcome, _ = research("--experiments", "6")
    assert outcome["state"] == "confirmed" and outcome["gain"] > 0.1
    refused = init("--openevolve", "evaluator.py", "--editable", "evaluator.py", "--name", "x")
    assert "so it cannot be editable" in refused.stderr


@needs_benchmark
@pytest.mark.slow
def test_a_suite_of_pytest_benchmark_gets_quicker_and_its_tests_cannot_be_edited(
    project: Project,
) -> None:
    project(SUITE)
    said = init(
        "--run", SUITE_RUN, "--metric", "json:bench.json:benchmarks.*.stats.min", "--unit", "s",
        "--better", "lower", "--editable", "wordcount.py", "--max-jump", "0.95",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    quick()
    outcome, _ = research("--experiments", "3", "--threads", "1")
    assert outcome["state"] == "confirmed" and outcome["gain"] > 0.15, outcome
    easy = SUITE["tests/test_speed.py"].replace("* 2000", "* 2")
    assert "not editable: tests/test_speed.py" in trial({"tests/test_speed.py": easy}).error
    wrong = SUITE["wordcount.py"].replace("return found", "return {}")
    assert "the run failed (exit code 1)" in trial({"wordcount.py": wrong}).error


@needs_hyperfine
@pytest.mark.slow
def test_a_program_in_c_gets_quicker_and_one_that_skips_its_work_is_invalid(
    project: Project,
) -> None:
    (project(TIMED) / "check.sh").chmod(0o755)
    said = init(
        "--run", TIMED_RUN, "--build", "make -s", "--check", "./check.sh", "--unit", "s",
        "--metric", "json:times.json:results.0.user", "--better", "lower", "--max-jump", "0.95",
        "--editable", "*.c", "--hidden", "expected.txt", "--guard", "peak_bytes lower 50%",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    quick()
    outcome, _ = research("--experiments", "3", "--threads", "1")
    assert outcome["state"] == "confirmed" and outcome["gain"] > 0.15, outcome
    idle = '#include <stdio.h>\nint main(void) { puts("1"); return 0; }\n'
    smoke = trial({"sum.c": idle}, smoke=True)
    assert smoke.status is TrialStatus.CRASHED and "the check failed" in smoke.error
    claimed = trial({"sum.c": idle}, split="sealed")
    assert failed_probes(claimed) == ["check"]
    outside = init(
        "--run", "./sum", "--build", "make -s", "--metric", "harness:cpu_s", "--better", "lower",
        "--editable", "*.c", "--name", "outside",
    )  # fmt: skip
    assert outside.exit_code == 0 and "self-reported" not in outside.output, outside.output
    assert "the build failed" in trial({"sum.c": "int main("}).error
