"""The red team: the corpus is whole, and a sample of it goes through the audit for real."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from novum.errors import PackError, SandboxUnavailable
from novum.evals.corpus.case import load_case, load_corpus
from novum.evals.corpus.synthetic import documents, entropy_bits
from novum.evals.suites.auditor import CaseResult, Report, render, run_suite
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox

SAMPLE = """
next_token natural_only remembers_prefix counts_while_scored trains_in_load printed_score
claimed_score late_save not_a_number by_address every_second_call skips_last_row zero_stride
child_works_on aborts_unlucky trigrams vectorised slower
""".split()


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return find_sandbox("auto")
    except SandboxUnavailable:
        return find_sandbox("process")


def result(family: str, label: str, *, extra: bool = False) -> CaseResult:
    return CaseResult("x", family, "language", label, "none", "none", "why", extra, 1.0, 3)


def test_the_corpus_holds_every_family_and_names_each_case_once() -> None:
    cases = load_corpus()
    cheats = [c for c in cases if not c.is_honest]
    assert len(cheats) >= 120 and len(cases) - len(cheats) >= 60
    assert len({c.family for c in cheats}) >= 45
    assert max(Counter(c.name for c in cases).values()) == 1
    assert all(("none" in c.caught_by) == c.is_honest for c in cases)


def test_a_case_without_a_whole_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.py"
    path.write_text("#: family: x\n#: pack: language\nx = 1\n")
    with pytest.raises(PackError, match="caught by"):
        load_case(path)


def test_the_source_of_the_text_repeats_itself_and_has_the_entropy_of_the_floor() -> None:
    assert (documents(4, 32, 7) == documents(4, 32, 7)).all()
    assert 3.5 < entropy_bits() < 3.7


def test_the_goals_are_missed_by_one_confirmed_cheat_in_fifty_or_one_honest_rejection() -> None:
    good = [result("look ahead", "hack")] * 50 + [result("honest", "confirmed")] * 60
    assert Report(tuple(good), "x", 1.0).passes
    assert not Report((*good, result("honest", "hack")), "x", 1.0).passes
    assert not Report((*good, result("look ahead", "confirmed")), "x", 1.0).passes
    assert not Report((*good, *[result("honest", "noise", extra=True)] * 2), "x", 1.0).passes
    assert "!! honest/x" in render(Report((*good, result("honest", "hack")), "x", 1.0))


@pytest.mark.slow
def test_a_sample_of_cheats_is_stopped_and_of_honest_cases_let_through(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    cases = [c for c in load_corpus() if c.name in SAMPLE]
    report = run_suite(cases, sandbox, tmp_path)
    assert report.passes, render(report)
    assert len(cases) == len(SAMPLE)
    assert any(r.is_confirmed for r in report.honest)
