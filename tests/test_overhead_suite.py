"""The suite that measures what an iteration costs when its trials cost nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from novum.evals.suites.overhead import Asked, Overhead, measure, render, run
from novum.evals.suites.planted import count, plant
from novum.memory.chroma import ChromaMemory

MEASURED = Overhead(
    n_candidates=100,
    n_lessons=0,
    n_threads=1,
    policy="greedy",
    iteration_ms=9.0,
    tenths_ms=(9.0,) * 10,
    tenths_cpu_ms=(8.0,) * 10,
    parts_ms={"archive (git)": 1.0, "rest": 8.0},
    recall_ms=None,
    begin_s=1.0,
    events_per_s=5_000.0,
    events_per_candidate=20.0,
    resident_bytes=(120e6, *(150e6,) * 10),
    memory_bytes=60e6,
    resume_s=0.5,
    folder_bytes=40e3,
    index_bytes=1e6,
    bare_loop_ms=25.0,
)


@pytest.mark.slow
def test_the_real_loop_is_measured_with_its_parts_and_its_memory(tmp_path: Path) -> None:
    said: list[str] = []
    planted = tmp_path / "planted"
    asked = Asked(candidates=40, lessons=60, threads=2, memory=planted)
    found = measure(asked, said.append)
    assert found.n_candidates == 40
    assert len(found.tenths_ms) == len(found.tenths_cpu_ms) == 10
    assert sum("candidates:" in line for line in said) == 10
    assert min(found.tenths_ms) > 0 and found.bare_loop_ms > 0 and found.resume_s > 0
    assert {"archive (git)", "blobs", "LangGraph with checkpoints"} < set(found.parts_ms)
    assert found.events_per_candidate > 10, "every fact of an iteration is an event"
    assert found.folder_bytes > 1_000
    assert found.recall_ms and 0 < found.recall_ms[0] <= found.recall_ms[1], "it was recalled from"
    assert len(found.resident_bytes) == 11 and 0 < found.memory_bytes < max(found.resident_bytes)
    assert count(planted) == 60, "the run wrote to a copy"
    assert found.index_bytes > 60 * 512 * 4, "the vectors of the lessons are there"


def test_planted_lessons_are_written_once_and_found_again(tmp_path: Path) -> None:
    plant(tmp_path, 30, "null")
    said: list[str] = []
    plant(tmp_path, 30, "null", said.append)
    assert said == [] and count(tmp_path) == 30
    plant(tmp_path, 40, "null", said.append)
    assert said == ["40 lessons planted"] and count(tmp_path) == 40
    memory = ChromaMemory.open(tmp_path, benchmark="null")
    try:
        own = list(memory.lessons("null"))
        assert len(own) == 40 and {x.run for x in own} == {"earlier-0"}
        assert own[7].hypothesis in [x.hypothesis for x in memory.recall(own[7].hypothesis, 5)]
    finally:
        memory.close()


def test_a_missed_goal_is_shown_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(MEASURED).count(" met") == 4 and "MISSED" not in render(MEASURED)
    growing = (*MEASURED.tenths_ms[1:], 30.0)
    slow = replace(MEASURED, tenths_ms=growing)
    where = "novum.evals.suites.overhead.measure"
    monkeypatch.setattr(where, lambda asked, say: slow)
    assert run(["--candidates", "50"]) == 1
    assert capsys.readouterr().out.count("MISSED") == 1
    monkeypatch.setattr(where, lambda asked, say: MEASURED)
    assert run(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_candidates"] == 100


def test_what_cannot_be_measured_is_refused_before_it_begins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong in (["--candidates", "100", "--threads", "8"], ["--threads", "65"], ["--lessons=-1"]):
        with pytest.raises(SystemExit) as caught:
            run(wrong)
        assert caught.value.code == 2
    assert "for each thread" in capsys.readouterr().err
