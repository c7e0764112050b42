"""The suite that measures what isolation costs."""

from __future__ import annotations

import json

import pytest

from novum.evals.suites.sandbox_overhead import Row, measure, run


def test_start_up_and_a_whole_trial_are_measured_for_each_sandbox(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, absent = measure(["process"], n_starts=2, n_trials=1)
    assert [row.what for row in rows] == ["start-up", "whole trial"]
    assert not absent
    for row in rows:
        assert 0 < row.least_bare_ms <= row.bare_ms
        assert 0 < row.least_total_ms <= row.total_ms
    assert capsys.readouterr().out == ""


def test_a_missed_goal_is_shown_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = Row("bubblewrap", "start-up", 3, 10.0, 80.0, 9.0, 75.0, goal_ms=50.0)
    quick = Row("docker", "start-up", 3, 10.0, 300.0, 9.0, 290.0, goal_ms=800.0)
    where = "novum.evals.suites.sandbox_overhead.measure"
    monkeypatch.setattr(where, lambda names: ([slow, quick], {"process": "not here.\nFix it."}))
    assert run([]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("MISSED") == 1 and "process: not here." in shown.err
    monkeypatch.setattr(where, lambda names: ([quick], {}))
    assert run(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["over_ms"] == 290.0
