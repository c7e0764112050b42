"""The page of results says what the trials say, and no more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from novum.benchmarks import nanochat
from novum.benchmarks.harness import tree_hash
from novum.benchmarks.nanochat.tables import (
    BEGIN,
    END,
    compact,
    difference,
    main,
    page,
    read_trials,
    tables,
    trials_of_run,
)
from novum.errors import UsageError
from novum.evals.bundle import unpack_bundle
from novum.lab.records import Outcome, Probe, Purpose, TrialStatus
from novum.lab.run import RunFolder

RESULTS = Path(nanochat.__file__).parent / "results"


def setting() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "setting.json").read_text())
    return found


def test_the_page_that_is_kept_is_what_its_trials_make(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "results")
    assert main([str(tmp_path / "results")]) == 0
    made = (tmp_path / "results" / "README.md").read_text()
    assert made == (RESULTS / "README.md").read_text()


def test_the_champion_that_is_kept_is_the_tree_that_was_measured() -> None:
    files = {"train.py": (RESULTS / "champion" / "train.py").read_bytes()}
    assert tree_hash(files) == setting()["arms"]["recall"]["tree"]


@pytest.mark.parametrize("start", ["modern", "vanilla"])
def test_the_trials_that_are_shown_of_a_run_are_those_of_its_bundle(start: str) -> None:
    bundle = unpack_bundle((RESULTS / "evidence" / f"from-{start}.tar").read_bytes())
    recorded = json.loads(bundle["facts.json"])["trials"]
    arms = [name for name, arm in setting()["arms"].items() if arm.get("run") == f"nano-{start}"]
    rows = read_trials(RESULTS / "trials.jsonl")
    shown = [(t["seed"], t["metric"]) for t in rows if t["arm"] in arms]
    certified = [t for t in recorded if t["purpose"] == "certify"]
    assert sorted(shown) == sorted((t["seed"], t["metric"]) for t in certified) and len(shown) == 10


def test_a_difference_is_students_with_pooled_spread() -> None:
    stats = pytest.importorskip("scipy.stats")
    reference, candidate = [0.62, 0.63], [0.55, 0.556, 0.551]
    found = difference(reference, candidate)
    expected = stats.ttest_ind(reference, candidate, alternative="greater")
    assert found.p_value == pytest.approx(expected.pvalue)
    low, high = stats.ttest_ind(reference, candidate).confidence_interval(0.95)
    assert found.half == pytest.approx(100 * (high - low) / 2 / np.mean(reference))
    assert found.gain == pytest.approx(100 * (1 - np.mean(candidate) / np.mean(reference)))


def test_one_trial_an_arm_has_a_difference_and_no_interval() -> None:
    found = difference([0.62], [0.56])
    assert (found.n, found.half, found.p_value) == ((1, 1), float("inf"), None)


def test_trials_that_chose_an_arm_are_also_left_out() -> None:
    trials = read_trials(RESULTS / "trials.jsonl")
    lines = [line for line in tables(setting(), trials).splitlines() if "plus against" in line]
    assert [line.split(" | ")[2] for line in lines] == ["3 and 3", "2 and 3"]


def test_a_failed_trial_is_shown_and_counts_in_no_mean() -> None:
    trials = read_trials(RESULTS / "trials.jsonl")
    means = [line for line in tables(setting(), trials).splitlines() if "`key_shift`" in line]
    crashed = compact({"arm": "plus", "split": "sealed", "seed": 9, "status": "crashed",
                       "metric": None, "error": "out of memory", "log": "x" * 9999})  # fmt: skip
    text = tables(setting(), [*trials, crashed])
    assert "| plus | sealed | 9 | crashed | - |" in text and "out of memory" in text
    assert "log" not in crashed
    after = [line for line in text.splitlines() if "`key_shift`" in line]
    assert [line.replace("| 3 | 1 |", "| 3 | 0 |") for line in after] == means != after


def test_a_page_without_its_marks_is_refused_and_text_around_them_stays() -> None:
    text = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert page(text, "new") == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"
    for broken in ("above", f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"):
        with pytest.raises(UsageError):
            page(broken, "new")


def test_trials_that_cannot_be_read_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RESULTS, tmp_path / "results")
    before = (tmp_path / "results" / "trials.jsonl").read_bytes()
    (tmp_path / "bad.jsonl").write_text('{"arm": "plus"}\n')
    assert main([str(tmp_path / "results"), "--keep", str(tmp_path / "bad.jsonl")]) == 2
    assert "does not hold trials" in capsys.readouterr().err
    assert (tmp_path / "results" / "trials.jsonl").read_bytes() == before


def test_the_trials_of_a_run_are_taken_over_by_the_trees_of_the_arms(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "results")
    before = read_trials(RESULTS / "trials.jsonl")
    found = setting()
    arms = {
        k: {**v, "run": "r" if k in ("modern", "plus") else None} for k, v in found["arms"].items()
    }
    (tmp_path / "results" / "setting.json").write_text(json.dumps({**found, "arms": arms}))
    run = RunFolder.create(tmp_path, "r", benchmark="nanochat", profile="gpu", settings={})
    passed = Probe("suffix", Outcome.PASS, "the same")
    purposes = {"smoke": Purpose.SMOKE, "modern": Purpose.CERTIFY, "plus": Purpose.CERTIFY}
    with run.ledger() as ledger:
        for i, (name, purpose) in enumerate(purposes.items()):
            tree = arms.get(name, arms["plus"])["tree"]
            trial = ledger.launch_trial(
                f"e{i}",
                tree=tree,
                proposal="certify",
                purpose=purpose,
                split="sealed",
                fidelity="full",
                harness="h",
                hardware="1x GPU",
                slot=0,
                nonce=run.nonce,
                benchmark="nanochat",
                profile="gpu",
            )
            seen = {"used_s": 120.0 + i, "other": 1.0}
            ledger.end_trial(
                trial.id,
                TrialStatus.FINISHED,
                metric=0.6 - i / 100,
                observed=seen,
                probes=(passed,),
            )
    assert main([str(tmp_path / "results"), "--run", str(run.path)]) == 0
    modern, plus, *others = read_trials(tmp_path / "results" / "trials.jsonl")
    assert others == [row for row in before if row["arm"] not in ("modern", "plus")]
    assert (modern["arm"], plus["arm"], modern["split"]) == ("modern", "plus", "sealed")
    assert plus["observed"] == {"used_s": 122.0} and plus["probes"] == {"suffix": "pass"}
    assert "| plus | sealed |" in (tmp_path / "results" / "README.md").read_text()
    with pytest.raises(UsageError, match="is of no arm"):
        trials_of_run(run.path, {"modern": arms["modern"]})
