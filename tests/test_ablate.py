"""Ablation: versions that lack one technique, what is measured of them, and what that says."""

from __future__ import annotations

import asyncio
import json
import time
from math import inf, isinf
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from novum.app.cli import app
from novum.benchmarks.evaluate import Bench
from novum.benchmarks.moves import Edit, Technique, load_playbook
from novum.benchmarks.pack import load_pack
from novum.errors import RecordError, UnknownName, UsageError
from novum.evals.ablate import ALL, START, Arm, Measure, Plan, arms_of, different, measure, table
from novum.evals.significance.distributions import t_isf
from novum.evals.significance.worth import worths
from novum.lab.records import Kind
from novum.sandboxes.slots import Slot

PACKS = Path(__file__).parent / "packs"
CLIMB = load_pack(PACKS / "climb")
PLAYBOOK = load_playbook(CLIMB.folder / "playbook")
START_FILES = {"train.py": b"a = 1\n"}


def technique(name: str, find: str, replace: str) -> Technique:
    return Technique(
        id=name,
        title=name,
        kind=Kind.SYSTEMS,
        hypothesis="it helps",
        source="made up",
        knowledge="none",
        markers=(replace,),
        edits=(Edit(find=find, replace=replace),),
    )


CHAIN = {
    "one": technique("one", "a = 1", "a = 2"),
    "on_one": technique("on_one", "a = 2", "b = 3"),
    "alone": technique("alone", "\n", "\nc = 4\n"),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.prepare(CLIMB, None, sandbox="process", cache=tmp_path_factory.mktemp("cache"))


def measured(
    bench: Bench, plan: Plan, path: Path, n_slots: int = 1
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All rows, and those that were measured now."""
    new: list[dict[str, Any]] = []
    slots = [Slot(i, (0,)) for i in range(n_slots)]
    return asyncio.run(measure(bench, slots, plan, path, new.append)), new


def plan_of(*names: str, n_trials: int = 2, **more: Any) -> Plan:
    return Plan(arms_of(CLIMB.start_files(), PLAYBOOK, names, with_start=True), n_trials, **more)


def test_what_needs_a_technique_is_left_out_with_it() -> None:
    arms = arms_of(START_FILES, CHAIN, ["one", "on_one", "alone"], with_start=True)
    assert [(arm.name, arm.lacks) for arm in arms] == [
        (ALL, ()),
        ("one", ("one", "on_one")),
        ("on_one", ("on_one",)),
        ("alone", ("alone",)),
        (START, ("one", "on_one", "alone")),
    ]
    assert arms[0].files == {"train.py": b"b = 3\nc = 4\n"}
    assert arms[1].files == {"train.py": b"a = 1\nc = 4\n"}


def test_versions_that_are_alike_are_measured_once() -> None:
    arms = arms_of(START_FILES, CHAIN, ["one", "on_one"], with_start=True)
    assert arms[1].files == arms[3].files
    assert [arm.name for arm in different(arms)] == [ALL, "one", "on_one"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["two"], UnknownName, "no technique 'two'"),
        (["one", "one"], UsageError, "each once"),
        ([], UsageError, "name the candidate's techniques"),
        (["on_one", "one"], UsageError, "in this order: on_one: train.py lacks the passage"),
    ],
)
def test_techniques_that_make_no_candidate_are_refused(
    names: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        arms_of(START_FILES, CHAIN, names)


def test_every_version_gets_its_trials_and_what_helps_is_told(bench: Bench, tmp_path: Path) -> None:
    plan = plan_of("alpha", "beta", "gamma", n_trials=4)
    rows, new = measured(bench, plan, tmp_path / "a.jsonl", n_slots=3)
    assert rows == new and len(rows) == 5 * 4 and len({row["seed"] for row in rows}) == 20
    said = table(rows, plan.arms, Measure.of(CLIMB, bench.profile)).splitlines()
    assert [line.split("|")[1].strip() for line in said[2:]] == [
        "nothing", "`alpha`", "`beta`", "`gamma`", "any of them"
    ]  # fmt: skip
    assert all(line.endswith("| helps |") for line in said[3:])


def test_what_the_file_holds_is_not_measured_again(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    measured(bench, plan_of("alpha", n_trials=1), path)
    other = json.loads(path.read_text().splitlines()[0]) | {"harness": "another"}
    path.write_text(path.read_text() + json.dumps(other) + "\n" + '{"torn": ')
    rows, new = measured(bench, plan_of("alpha", n_trials=2), path)
    # Three versions, of which `alpha` left out of itself is the start.
    assert (len(rows), len(new)) == (4, 2)
    assert "1 trials of" in caplog.text and "measured otherwise" in caplog.text
    assert [json.loads(line)["tree"] for line in path.read_text().splitlines()].count(
        other["tree"]
    ) == 3


@pytest.mark.parametrize("text", ["nonsense\n", "[1]\n", '{"arm": "all"}\n'])
def test_a_file_of_something_else_is_left_alone(bench: Bench, tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    with pytest.raises(RecordError, match="does not hold trials of an ablation"):
        measured(bench, plan_of("alpha"), path)
    assert path.read_text() == text


def test_no_trial_begins_that_would_end_too_late(bench: Bench, tmp_path: Path) -> None:
    late = plan_of("alpha", "beta", ends_s=time.monotonic() - 1)
    assert measured(bench, late, tmp_path / "a.jsonl") == ([], [])
    slow = Bench.prepare(CLIMB, "slow", sandbox="process", cache=tmp_path)
    soon = plan_of("alpha", "beta", n_trials=50, ends_s=time.monotonic() + 2)
    rows, _ = measured(slow, soon, tmp_path / "b.jsonl")
    assert 1 <= len(rows) < 50 and time.monotonic() < soon.ends_s + 1  # type: ignore[operator]


def test_a_version_that_fails_is_told_and_has_no_worth(bench: Bench, tmp_path: Path) -> None:
    files = CLIMB.start_files()
    broken = {**files, "solve.py": files["solve.py"] + b"raise\n"}
    plan = Plan((Arm(ALL, files), Arm("alpha", broken, ("alpha",))), 2)
    rows, _ = measured(bench, plan, tmp_path / "a.jsonl")
    last = table(rows, plan.arms, Measure.of(CLIMB, bench.profile)).splitlines()[-1]
    assert last == "| `alpha` | 0, 2 failed | – | – |  |  |  |"


def test_a_required_value_is_compared_by_its_name() -> None:
    pack = load_pack(PACKS.parents[1] / "benchmarks" / "speedrun")
    loss = Measure.of(pack, pack.profile("gpu1"), "loss")
    assert (loss.name, loss.better, loss.is_metric) == ("loss", "lower", False)
    row = {"status": "finished", "metric": 18.0, "observed": {"loss": 2.5}, "tree": "t"}
    assert loss.value(row) == 2.5 and loss.value({**row, "status": "crashed"}) is None
    assert Measure.of(pack, pack.profile("gpu1")).value(row) == 18.0
    with pytest.raises(UnknownName, match="requires no 'accuracy'; it requires loss"):
        Measure.of(pack, pack.profile("gpu1"), "accuracy")


def test_intervals_are_students_and_hold_together() -> None:
    full, lacking = [1.0, 1.2], {"a": [2.0, 2.2, 2.1], "b": [1.1, 1.1]}
    found = worths(full, lacking, "lower")
    variance = (0.02 + 0.02 + 0.0) / 4
    half = t_isf(0.025 / 2, 4) * (variance * (1 / 2 + 1 / 3)) ** 0.5
    assert found["a"].gain == pytest.approx(1.0 / 1.1)
    assert found["a"].high - found["a"].gain == pytest.approx(half / 1.1)
    assert found["a"].is_clear and not found["b"].is_clear
    higher = worths([-v for v in full], {"a": [-v for v in lacking["a"]]}, "higher")
    assert higher["a"].gain == pytest.approx(found["a"].gain)


def test_a_spread_that_is_a_share_is_taken_as_one() -> None:
    slow = worths([10.0, 11.0], {"a": [100.0, 110.0]}, "lower", "relative")["a"]
    assert slow.gain == pytest.approx(9.0) and 0 < slow.low < 9 < slow.high
    fast = worths([100.0, 110.0], {"a": [10.0, 11.0]}, "higher", "relative")["a"]
    assert fast.gain == pytest.approx(0.9) and fast.low < 0.9 < fast.high < 1


def test_one_wild_arm_does_not_blur_the_others() -> None:
    lacking = {"a": [1.10, 1.12], "b": [1.01, 1.03], "wild": [2.0, 3.0, 2.5]}
    found = worths([1.00, 1.02], lacking, "lower")
    half = t_isf(0.025 / 3, 3) * 0.0002**0.5
    assert found["a"].is_clear and not found["b"].is_clear
    assert found["a"].high - found["a"].gain == pytest.approx(half / 1.01)
    own, usual = 0.25 / 3, 0.0002 / 2
    df = (own + usual) ** 2 / (own**2 / 2 + usual**2 / 3)
    half = t_isf(0.025 / 3, df) * (own + usual) ** 0.5
    assert found["wild"].high - found["wild"].gain == pytest.approx(half / 1.01)


def test_what_repeats_to_the_last_digit_is_told_apart_by_any_difference() -> None:
    found = worths([1.0, 1.0], {"a": [1.5, 1.5], "b": [1.0, 1.0]}, "lower")
    assert found["a"].is_clear and found["a"].low == found["a"].high == 0.5
    assert not found["b"].is_clear


def test_what_was_not_repeated_or_never_ended_says_nothing() -> None:
    once = worths([1.0], {"a": [2.0], "b": [None], "c": []}, "lower")
    assert set(once) == {"a"} and isinf(once["a"].high) and not once["a"].is_clear
    assert worths([None, inf], {"a": [2.0]}, "lower") == {}


def test_useless_parts_seldom_look_like_something() -> None:
    """At five in a hundred, 600 ablations give 30 with a finding; 52 are over four sd more."""
    rng, n_found = Random(5), 0
    for k in range(600):
        n, n_parts = 2 + k % 2, (2, 5, 9)[k % 3]
        full = [rng.gauss(1, 0.01) for _ in range(3)]
        lacking = {str(i): [rng.gauss(1, 0.01) for _ in range(n)] for i in range(n_parts)}
        n_found += any(said.is_clear for said in worths(full, lacking, "lower").values())
    assert 0 < n_found < 52


def test_the_command_prints_a_table_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["ablate", "alpha", "beta", "--pack", str(CLIMB.folder), "--sandbox", "process"]
    first = CliRunner().invoke(app, [*words, "--trials", "1"])
    assert first.exit_code == 0, first.output
    assert first.stdout.count("without ") == 3 + 1 and "not repeated" in first.stdout
    again = CliRunner().invoke(app, [*words, "--json"])
    rows = [json.loads(line) for line in again.stdout.splitlines()]
    assert len(rows) == 3 and {row["arm"] for row in rows} == {"all", "alpha", "beta"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "no technique 'nothing'"),
        (["alpha", "--of", "loss"], "requires no 'loss'; it requires nothing beside the metric"),
        (["alpha", "--split", "test"], "no split 'test'"),
        (["alpha", "--start", "other"], "no start 'other'"),
        (["alpha", "--fidelity", "half"], "no fidelity 'half'"),
        (["alpha", "--wall", "soon"], "'soon' is no time"),
    ],
)
def test_wrong_words_are_bad_usage(words: list[str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    where = ["--pack", str(CLIMB.folder), "--sandbox", "process", "-o", str(file)]
    said = CliRunner().invoke(app, ["ablate", *words, *where])
    assert said.exit_code == 2 and message in said.stderr, said.output
    assert not file.exists()
