"""The suite that measures what an iteration costs when its trials cost nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from novum.evals.suites.overhead import Overhead, measure, render, run

MEASURED = Overhead(
    n_candidates=100,
    iteration_ms=9.0,
    tenths_ms=(9.0,) * 10,
    tenths_cpu_ms=(8.0,) * 10,
    parts_ms={"archive (git)": 1.0, "rest": 8.0},
    events_per_s=5_000.0,
    events_per_candidate=20.0,
    resident_bytes=150e6,
    resume_s=0.5,
    folder_bytes=40e3,
    bare_loop_ms=25.0,
)


@pytest.mark.slow
def test_the_real_loop_is_measured_with_its_parts() -> None:
    said: list[str] = []
    found = measure(20, said.append)
    assert found.n_candidates == 20
    assert len(found.tenths_ms) == len(found.tenths_cpu_ms) == len(said) == 10
    assert min(found.tenths_ms) > 0 and found.bare_loop_ms > 0 and found.resume_s > 0
    assert {"archive (git)", "blobs", "LangGraph with checkpoints"} < set(found.parts_ms)
    assert found.events_per_candidate > 10, "every fact of an iteration is an event"
    assert found.folder_bytes > 1_000


def test_a_missed_goal_is_shown_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(MEASURED).count(" met") == 4 and "MISSED" not in render(MEASURED)
    growing = (*MEASURED.tenths_ms[1:], 30.0)
    slow = replace(MEASURED, tenths_ms=growing)
    where = "novum.evals.suites.overhead.measure"
    monkeypatch.setattr(where, lambda n, say: slow)
    assert run(["--candidates", "50"]) == 1
    assert capsys.readouterr().out.count("MISSED") == 1
    monkeypatch.setattr(where, lambda n, say: MEASURED)
    assert run(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_candidates"] == 100
