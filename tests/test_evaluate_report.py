"""What a person reads of one measured candidate: its line, its error, its probes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from novum.benchmarks.evaluate import (
    MOST_REMARKS,
    beside_the_metric,
    in_a_line,
    odd_start,
    remarks,
    report,
    whether_met,
)
from novum.benchmarks.pack import Profile, Requirement, load_pack
from novum.benchmarks.protocol import Phase, TrialResult
from novum.lab.records import Outcome, Probe, TrialStatus

PACK = Path(__file__).parents[1] / "benchmarks" / "kernels"
TRACEBACK = (
    "rmsnorm: COMPILE_ERROR: Traceback (most recent call last):\n"
    '  File "rmsnorm.py", line 3, in <module>\n    import triton\n'
    "ModuleNotFoundError: No module named 'triton'\n"
)


def result(**fields: Any) -> TrialResult:
    known: dict[str, Any] = {
        "status": TrialStatus.FINISHED,
        "metric": 0.5,
        "observed": {"trial_s": 1.0},
        "claimed": {},
        "probes": (),
        "artifact": "",
        "error": "",
        "log": "",
        "phases": (),
        "self_reported": False,
    }
    return TrialResult(**(known | fields))


def test_a_traceback_is_named_by_its_last_line_and_its_end_stands_below() -> None:
    assert in_a_line("") == ""
    assert in_a_line("too slow\nby far") == "too slow"
    crashed = result(status=TrialStatus.CRASHED, metric=None, error=TRACEBACK)
    pack = load_pack(PACK)
    first, *rest = report(pack, pack.profile("cpu"), "search", 7, crashed).splitlines()
    assert first.endswith("rmsnorm: COMPILE_ERROR: ModuleNotFoundError: No module named 'triton'")
    assert rest[-1].strip() == "import triton"


def test_what_the_probes_object_to_is_said_once_and_counted_when_it_is_much() -> None:
    held = Probe("physics", Outcome.PASS, "times above the floor")
    twice = Probe(
        "complete", Outcome.NOTE, "a", {"all": ["a: out of\nmemory", "a: out of\nmemory"]}
    )
    many = Probe("correct", Outcome.FAIL, "w0", {"all": [f"w{i}" for i in range(MOST_REMARKS + 3)]})
    phases = (Phase("traces", 1.0, {"file": "x.jsonl"}),)
    said = remarks(result(probes=(held, twice), phases=phases))
    assert said[0] == "complete: a: out of memory"
    assert said[1].startswith("in full: traces/x.jsonl") and len(said) == 2
    assert remarks(result(probes=(held,), phases=phases)) == []
    assert remarks(result(probes=(many,)))[-1] == "... and 3 more"


TIMED = Profile(
    name="cpu",
    budget_s=9,
    requirements={"loss": Requirement(search=6.2, sealed=6.1, trials=5)},
)


def test_a_loss_stands_beside_the_time_with_the_target_of_its_split() -> None:
    seen = {"trial_s": 1.0, "loss": 6.15, "steps": 120.0, "epochs": 0.04}
    fast = result(observed=seen)
    assert beside_the_metric(TIMED, "search", fast) == [
        "loss 6.1500 (target 6.2), 120 steps, 0.04 epochs"
    ]
    assert "(target 6.1)" in beside_the_metric(TIMED, "sealed", fast)[0]
    assert "reaches the target 6.2" in whether_met(TIMED, "loss", "search", [fast])
    assert "MISSES the target 6.1" in whether_met(TIMED, "loss", "sealed", [fast])
    assert whether_met(TIMED, "loss", "search", [result(metric=None)]) == ""


def test_epochs_that_a_candidate_counted_are_called_its_own_count() -> None:
    seen = {"trial_s": 1.0, "epochs_at_most": 0.86}
    claimed = result(observed=seen, claimed={"epochs": 0.5})
    size = Profile(name="gpu", budget_s=9)
    said = beside_the_metric(size, "search", claimed)
    assert said == ["at most 0.86 epochs (0.50 by its own count)"]
    assert beside_the_metric(size, "search", result()) == []


def test_a_start_that_is_meant_for_another_profile_is_remarked_on(tmp_path: Path) -> None:
    pack = load_pack(PACK.parent / "nanochat")
    assert "meant for --profile gpu" in odd_start(pack, Path("modern_gpu"), "cpu")
    assert odd_start(pack, Path("vanilla"), None) == odd_start(pack, tmp_path, "gpu") == ""
