"""The ledger records each fact once, in a chain that shows any tampering."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from novum.errors import DiskFull, LedgerCorrupt, RecordError, UnknownName, UsageError
from novum.lab.ledger import Ledger, draw_seed
from novum.lab.records import (
    Candidate,
    Directive,
    Evidence,
    Kind,
    Label,
    Lesson,
    Outcome,
    Probe,
    Proposal,
    Purpose,
    Trial,
    TrialStatus,
    Verdict,
)

PROPOSAL = Proposal("p1", 0, 1, "wider is better", Kind.ARCHITECTURE, ("root",), "playbook")
CANDIDATE = Candidate("tree1", "commit1", ("root",), "p1", "width 128 to 192", 2)
VERDICT = Verdict("v1", "p1", "tree1", "root", Label.CONFIRMED, "race won", 0.02, (0.01, 0.03))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger.db") as made:
        yield made


def launch(ledger: Ledger, effect: str = "e1", *, seed_index: int | None = None) -> Trial:
    return ledger.launch_trial(
        effect,
        tree="tree1",
        proposal="p1",
        purpose=Purpose.SEARCH,
        split="search",
        fidelity="full",
        harness="h",
        hardware="cpu",
        slot=0,
        nonce="secret",
        benchmark="nanochat",
        profile="cpu",
        seed_index=seed_index,
    )


def fill(ledger: Ledger) -> None:
    ledger.add_proposal(PROPOSAL)
    ledger.add_candidate(CANDIDATE)
    trial = launch(ledger)
    probe = Probe("peeking", Outcome.PASS, "no peeking", {"max": 0.0})
    ledger.end_trial(trial.id, TrialStatus.FINISHED, metric=0.9, probes=(probe,))
    ledger.add_evidence(Evidence("e1", "p1", "tree1", "race", Outcome.PASS, "won", {}, (trial.id,)))
    ledger.add_verdict(VERDICT)
    ledger.add_lesson(
        Lesson(
            "l1", "nanochat", "wider", Kind.DATA, "+1", Label.CONFIRMED, 0.02, None, 3, "p1", "t"
        )
    )
    ledger.add_directive(Directive("d1", "try Muon"))
    ledger.set_champion("tree1", "v1")


def test_every_fact_comes_back_as_it_was_recorded(ledger: Ledger) -> None:
    fill(ledger)
    assert ledger.proposals() == (PROPOSAL,)
    assert ledger.proposal("p1") == PROPOSAL
    assert ledger.candidates(proposal="p1") == (CANDIDATE,)
    assert ledger.verdicts(label=Label.CONFIRMED) == (VERDICT,)
    assert ledger.evidence(proposal="p1")[0].trials == ("t1",)
    assert ledger.trials(status=TrialStatus.FINISHED)[0].probes[0].detail == {"max": 0.0}
    assert ledger.champion() == ("tree1", "v1")
    assert ledger.directives(standing=True)[0].text == "try Muon"
    assert ledger.lessons()[0].kind is Kind.DATA
    ledger.verify()


def test_recording_a_fact_twice_records_it_once(ledger: Ledger) -> None:
    fill(ledger)
    before = ledger.anchor()
    fill(ledger)
    assert ledger.anchor() == before
    assert ledger.add_verdict(replace(VERDICT, created_s=9.0)) == VERDICT


def test_other_content_under_a_known_id_is_refused_and_the_first_stays(ledger: Ledger) -> None:
    fill(ledger)
    with pytest.raises(RecordError, match="v1 is on record with another reason"):
        ledger.add_verdict(replace(VERDICT, reason="I changed my mind"))
    assert ledger.verdict("v1") == VERDICT


def test_an_effect_asked_twice_is_one_trial_whatever_became_of_it(ledger: Ledger) -> None:
    trial = launch(ledger)
    lost = ledger.mark_lost()
    assert [t.id for t in lost] == [trial.id]
    again = launch(ledger)
    assert (again.id, again.status) == (trial.id, TrialStatus.LOST)
    assert ledger.counts()["trials"] == 1


def test_a_trial_that_died_with_its_process_ended_when_that_was_last_heard_of(
    tmp_path: Path,
) -> None:
    at = [100.0]
    with Ledger.create(tmp_path / "ledger.db", clock=lambda: at[0]) as ledger:
        trials = [launch(ledger, "one"), launch(ledger, "two")]
        at[0] = 130.0
        ledger.append("step", {}, "step:1")
        at[0] = 90_000.0  # nobody worked in between
        lost = ledger.mark_lost()
        assert [(t.id, t.ended_s) for t in lost] == [(t.id, 130.0) for t in trials]
        assert ledger.spent() == {"trial_s": 60.0}
        assert ledger.events()[-1].at_s == 90_000.0
        ledger.verify()


def test_each_trial_of_a_tree_draws_the_next_seed(ledger: Ledger) -> None:
    seeds = [launch(ledger, f"e{i}").seed for i in range(3)]
    assert seeds == [draw_seed("secret", "tree1", i) for i in range(3)]
    assert len(set(seeds)) == 3
    assert draw_seed("other nonce", "tree1", 0) != seeds[0]


def test_a_finished_trial_of_the_same_key_answers_for_a_repeated_draw(ledger: Ledger) -> None:
    first = launch(ledger, "one")
    assert launch(ledger, "two", seed_index=0).id != first.id, "it has not finished yet"
    finished = ledger.end_trial(first.id, TrialStatus.FINISHED, metric=1.0)
    assert launch(ledger, "three", seed_index=0) == finished
    assert launch(ledger, "three", seed_index=0) == finished
    assert ledger.counts()["reuses"] == 1


def test_a_trial_ends_once_and_its_cost_counts_once(tmp_path: Path) -> None:
    clock = iter(range(100, 1000, 10))
    with Ledger.create(tmp_path / "ledger.db", clock=lambda: float(next(clock))) as ledger:
        trial = launch(ledger)
        observed = {"wall_s": 9.0, "gpu_s": 7.0, "loss": float("nan")}
        for _ in range(2):
            ledger.end_trial(trial.id, TrialStatus.CRASHED, observed=observed, error="boom")
        assert ledger.spent() == {"trial_s": 20.0, "gpu_s": 7.0}
        with pytest.raises(RecordError, match="another error, metric, observed, status"):
            ledger.end_trial(trial.id, TrialStatus.FINISHED, metric=1.0)
        ledger.verify()


def test_a_finished_trial_has_a_metric_and_no_other_has(ledger: Ledger) -> None:
    trial = launch(ledger)
    with pytest.raises(ValueError, match="has no metric"):
        ledger.end_trial(trial.id, TrialStatus.FINISHED)
    with pytest.raises(ValueError, match="has a metric"):
        ledger.end_trial(trial.id, TrialStatus.CRASHED, metric=1.0)


def test_what_events_say_they_spent_adds_up(ledger: Ledger) -> None:
    for i in range(3):
        ledger.append("model.call", {"spent": {"tokens": 10, "usd": 0.25}}, f"call:{i}")
    ledger.append("model.call", {"spent": {"tokens": 10, "usd": 0.25}}, "call:0")
    assert ledger.spent() == {"tokens": 30.0, "usd": 0.75}


def test_ids_count_up_and_a_key_asked_twice_keeps_its_id(ledger: Ledger) -> None:
    assert [ledger.next_id("p") for _ in range(2)] == ["p1", "p2"]
    assert [ledger.next_id("p", key="0:7") for _ in range(2)] == ["p3", "p3"]
    assert ledger.next_id("v") == "v1"


def test_a_batch_happens_as_a_whole_or_not_at_all(ledger: Ledger) -> None:
    with pytest.raises(UnknownName), ledger.batch():
        ledger.add_proposal(PROPOSAL)
        assert ledger.proposal("p1") == PROPOSAL, "a batch sees what it wrote"
        ledger.set_champion("tree1", "v404")
    assert ledger.proposals() == ()
    ledger.verify()


def test_directives_end_once(ledger: Ledger) -> None:
    ledger.add_directive(Directive("d1", "stop tuning constants"))
    assert ledger.withdraw_directive("d1").status == "withdrawn"
    assert ledger.finish_directive("d1").status == "withdrawn"
    assert ledger.directives(standing=True) == ()
    with pytest.raises(UnknownName, match="d2"):
        ledger.withdraw_directive("d2")


def test_threads_and_a_second_process_s_connection_write_one_chain(tmp_path: Path) -> None:
    def work(ledger: Ledger, name: str) -> None:
        for i in range(50):
            ledger.append("note", {"i": i}, f"{name}:{i}")

    path = tmp_path / "ledger.db"
    with Ledger.create(path) as first, Ledger.open(path) as second:
        threads = [
            threading.Thread(target=work, args=(ledger, f"{n}"))
            for n, ledger in enumerate((first, first, second, second))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.counts()["events"] == 200
        second.verify()


def test_a_reader_sees_what_is_committed_and_cannot_write(ledger: Ledger) -> None:
    with Ledger.open(ledger.target, read_only=True) as reader:
        fill(ledger)
        assert reader.proposals() == (PROPOSAL,)
        with ledger.batch():
            ledger.next_id("p")
            ledger.append("note", {}, "unseen")
            assert reader.event("unseen") is None, "a reader neither waits nor sees half a batch"
        assert reader.event("unseen") is not None
        with pytest.raises(UsageError, match="reading only"):
            reader.append("note", {}, "n")
        reader.verify()


def test_a_ledger_on_read_only_media_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with Ledger.create(folder / "ledger.db") as ledger:
        fill(ledger)
    folder.chmod(0o555)
    try:
        with Ledger.open(folder / "ledger.db", read_only=True) as reader:
            reader.verify()
    finally:
        folder.chmod(0o755)


def test_events_are_read_from_a_number_on_by_kind(ledger: Ledger) -> None:
    fill(ledger)
    kinds = [event.kind for event in ledger.events()]
    assert kinds[0] == "proposal"
    assert kinds[-1] == "champion"
    assert [e.kind for e in ledger.events(after=1, kinds=["candidate", "verdict"])] == [
        "candidate",
        "verdict",
    ]
    assert [e.seq for e in ledger.events(after=2, limit=2)] == [3, 4]


def test_a_full_disk_is_named_and_nothing_recorded_is_lost(ledger: Ledger) -> None:
    fill(ledger)
    with ledger.batch():
        assert ledger._open is not None
        n_pages = ledger._open.exec_driver_sql("PRAGMA page_count").scalar_one()
        ledger._open.exec_driver_sql(f"PRAGMA max_page_count={n_pages}")
    with pytest.raises(DiskFull, match="Free some space"):
        for i in range(100):
            ledger.append("note", {"text": "x" * 4096}, f"note:{i}")
    assert ledger.champion() == ("tree1", "v1")
    ledger.verify()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"this is no database, but a text of some length" * 90, LedgerCorrupt, "damaged"),
        (b"", LedgerCorrupt, "no ledger of Novum"),
        (None, RecordError, "there is no ledger"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused(
    tmp_path: Path, content: bytes | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "ledger.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        Ledger.open(path, read_only=True)


def test_another_format_is_refused_by_its_number(ledger: Ledger) -> None:
    ledger.close()
    with closing(sqlite3.connect(ledger.target)) as raw, raw:
        raw.execute("UPDATE head SET format = 99")
    with pytest.raises(RecordError, match="format 99; this Novum reads format 1"):
        Ledger.open(ledger.target)


def test_making_a_ledger_over_another_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="exists already"):
        Ledger.create(ledger.target)


def test_a_closed_ledger_refuses_rather_than_open_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.create(path) as ledger:
        fill(ledger)
    ledger.close()
    for use in (ledger.events, ledger.trials, lambda: ledger.find_proposal("p1"), ledger.verify):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    with pytest.raises(RuntimeError, match="closed"):
        ledger.add_directive(Directive("d2", "try Lion"))
    with Ledger.open(path, read_only=True) as reader:
        assert [d.id for d in reader.directives()] == ["d1"]
    with pytest.raises(RuntimeError, match="closed"):
        reader.directives()


def test_a_ledger_that_cannot_settle_lets_go_of_its_file_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise DiskFull("no room is left")

    path = tmp_path / "ledger.db"
    ledger = Ledger.create(path)
    fill(ledger)
    monkeypatch.setattr("novum.lab.ledger.settle", full)
    with pytest.raises(DiskFull):
        ledger.close()
    if (descriptors := Path("/proc/self/fd")).is_dir():
        assert str(path.resolve()) not in {os.path.realpath(x) for x in descriptors.iterdir()}
