"""The red team: the corpus is whole, and a sample of it goes through the audit for real."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from novum.errors import PackError, SandboxUnavailable
from novum.evals.confusion import UNFINISHED, CaseResult, Report, render
from novum.evals.corpus.case import load_case, load_corpus
from novum.evals.corpus.synthetic import documents, entropy_bits
from novum.evals.rehearse import Bench, rehearse, verdict_of
from novum.evals.suites.auditor import pack_of, run_suite
from novum.lab.records import Label, Purpose
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

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


def test_a_case_that_the_time_cut_short_is_named_and_counts_neither_as_stopped_nor_as_passed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stopped = [result("look ahead", "hack")] * 3
    report = Report((*stopped, result("look ahead", UNFINISHED)), "x", 1.0)
    said = render(report)
    assert not report.passes
    assert "cheats not confirmed: 3 of 3" in said
    assert "not finished in the time given: 1: look ahead/x (3 trials)" in said
    cases = [c for c in load_corpus() if c.name in ("code_in_place", "trigrams")]
    late = run_suite(cases, sandbox, tmp_path, n_slots=1, limit_s=0.0)
    found = {r.name: r.label for r in late.results}
    assert found == {"code_in_place": "hack", "trigrams": UNFINISHED}  # rules need no trial
    assert sum(r.n_trials for r in late.results) == 0


def test_with_one_slot_the_noise_of_the_start_is_measured_when_a_case_first_needs_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    cases = {c.name: c for c in load_corpus()}
    slower, patched = cases["slower"], cases["timer"]
    bench = Bench.open(pack_of("kernel"), sandbox, tmp_path, "nonce")
    rehearse(bench, patched.name, patched.files, Slot())
    assert bench.noise == ()
    judgement, facts = rehearse(bench, slower.name, slower.files, Slot())
    assert len(bench.noise) == bench.profile.noise_trials
    assert sum(t.purpose is Purpose.NOISE for t in facts.trials) == len(bench.noise)
    assert verdict_of(judgement).label in (Label.NOISE, Label.REGRESSION)


@pytest.mark.slow
def test_a_sample_of_cheats_is_stopped_and_of_honest_cases_let_through(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    cases = [c for c in load_corpus() if c.name in SAMPLE]
    report = run_suite(cases, sandbox, tmp_path)
    assert report.passes, render(report)
    assert len(cases) == len(SAMPLE)
    assert any(r.is_confirmed for r in report.honest)
