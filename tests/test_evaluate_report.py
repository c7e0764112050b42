"""What a person reads of one measured candidate: its line, its error, its probes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from novum.benchmarks.evaluate import MOST_REMARKS, in_a_line, remarks, report
from novum.benchmarks.pack import load_pack
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
    first, *rest = report(load_pack(PACK), 7, crashed).splitlines()
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
