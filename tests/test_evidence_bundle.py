"""An evidence bundle proves a verdict offline, and shows every change that anybody makes to it."""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from novum import benchmarks
from novum.app.cli import app
from novum.app.evidence import check_evidence, write_evidence
from novum.errors import RecordError, UnknownName, UsageError
from novum.evals.audit import judge
from novum.evals.bundle import MANIFEST, export_bundle, reseal, unpack_bundle
from novum.evals.evidence import found
from novum.evals.facts import Facts, outline
from novum.evals.rehearsal import TERMS
from novum.evals.verify import alike, render_report, verify_bundle
from novum.lab.ledger import Ledger
from novum.lab.records import Candidate, Kind, Outcome, Proposal, Purpose, Split, TrialStatus
from novum.lab.run import RunFolder

START = {"train.py": b"lr = 0.1\n", "data.py": b"N = 1\n"}
KEPT = sorted(Path(benchmarks.__file__).parent.glob("*/results/*/*.tar"))
BETTER = START | {"train.py": b"lr = 0.2\n"}


@dataclass
class Recorded:
    run: RunFolder
    tree: str
    facts: Facts


def record_run(runs: Path, gain: float = 0.2) -> Recorded:
    """A run whose records are real and whose trials are numbers."""
    run = RunFolder.create(runs, "r1", benchmark="tiny", profile="cpu", settings={"x": 1})
    rng = random.Random(1)
    clock = count(1000)
    archive = run.archive()
    base, base_commit = archive.put(START, [], "start", {}, 0.0)
    tree, commit = archive.put(BETTER, [base_commit], "better", {"Proposal": "p1"}, 1.0)
    proposal = Proposal("p1", 0, 1, "a higher rate", Kind.CONSTANTS, (base,), "playbook")
    candidate = Candidate(tree, commit, (base,), "p1", "a higher rate")
    with Ledger.open(run.ledger_path, clock=lambda: float(next(clock))) as ledger:
        ledger.add_candidate(Candidate(base, base_commit, (), "start:plain", "start"))
        ledger.add_proposal(proposal)
        ledger.add_candidate(candidate)
        static = ledger.add_evidence(found("p1", tree, "rules", Outcome.PASS, "no rule applies"))
        facts = Facts(proposal, candidate, base, TERMS, (), (static,), n_ideas=1, aim="confirm")

        def run_trial(arm: str, purpose: Purpose, split: Split, owner: str) -> None:
            nonlocal facts
            trial = ledger.launch_trial(
                f"{owner}/{len(facts.trials)}", tree=arm, proposal=owner, purpose=purpose,
                split=split, fidelity="full", harness="h", hardware="cpu", slot=0,
                nonce=run.nonce, benchmark="tiny", profile="cpu",
            )  # fmt: skip
            value = 2.0 - (gain if arm == tree else 0.0) + rng.gauss(0, 0.01)
            ended = ledger.end_trial(
                trial.id, status=TrialStatus.FINISHED, metric=value, observed={"peak_bytes": 1.0}
            )
            facts = replace(facts, trials=(*facts.trials, ended))

        for _ in range(5):
            run_trial(base, Purpose.NOISE, "search", "start:plain")
        while (more := judge(facts).more) is not None:
            for i in range(max(more.candidate, more.reference)):
                if i < more.reference:
                    run_trial(base, more.purpose, more.split, "p1")
                if i < more.candidate:
                    run_trial(tree, more.purpose, more.split, "p1")
        judgement = judge(facts)
        assert judgement.verdict is not None
        for record in judgement.evidence:
            ledger.add_evidence(record)
        ledger.add_verdict(judgement.verdict)
        ledger.append("facts", outline(facts), f"facts:{judgement.verdict.id}")
        if gain > 0.1:
            ledger.set_champion(tree, judgement.verdict.id)
    return Recorded(run, tree, facts)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def bundle(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(recorded.run, recorded.tree[:8], tmp_path_factory.mktemp("out"))


def broken(data: bytes, folder: Path) -> set[str]:
    """Names of the checks that a changed bundle fails."""
    path = folder / "changed.tar"
    path.write_bytes(data)
    return {f.name for f in verify_bundle(path).findings if f.holds is False}


def edits(contents: dict[str, bytes]) -> Iterator[tuple[str, str, bytes]]:
    """(what, file, new content): changes by somebody who also renews the manifest."""
    facts = json.loads(contents["facts.json"])
    own = next(t for t in facts["trials"] if t["purpose"] == "confirm")
    for what, change in {
        "a score": {"metric": own["metric"] - 0.1},
        "a seed": {"seed": own["seed"] + 1},
        "a status": {"status": "crashed", "metric": None},
        "a purpose": {"purpose": "race"},
        "a guardrail": {"observed": {"peak_bytes": 0.5}},
    }.items():
        other = [t | change if t["id"] == own["id"] else t for t in facts["trials"]]
        yield what, "facts.json", json.dumps(facts | {"trials": other}).encode()
    for what, fewer in {
        "a trial left out": [t for t in facts["trials"] if t["id"] != own["id"]],
        "trials reordered": facts["trials"][::-1],
    }.items():
        yield what, "facts.json", json.dumps(facts | {"trials": fewer}).encode()
    easier = facts["terms"] | {"win": facts["terms"]["win"] | {"alpha_list": 0.4}}
    yield "the level", "facts.json", json.dumps(facts | {"terms": easier}).encode()
    yield "the number of ideas", "facts.json", json.dumps(facts | {"n_ideas": 0}).encode()
    verdict = json.loads(contents["verdict.json"])
    yield "the gain", "verdict.json", json.dumps(verdict | {"gain": 0.9}).encode()
    yield "the label", "verdict.json", json.dumps(verdict | {"label": "noise"}).encode()
    claim = json.loads(contents["claim.json"])
    yield "the claim", "claim.json", json.dumps(claim | {"gain": 0.9}).encode()
    evidence = json.loads(contents["evidence.json"])
    yield "a step left out", "evidence.json", json.dumps(evidence[1:]).encode()
    yield "the code", "code/candidate/train.py", b"lr = 0.3\n"
    yield "the reference's code", "code/reference/train.py", b"lr = 0.0\n"
    yield "the nonce", "nonce", b"00" * 32
    lines = contents["events.jsonl"].splitlines(keepends=True)
    yield "an event left out", "events.jsonl", b"".join(lines[:3] + lines[4:])
    yield "the beginning cut off", "events.jsonl", b"".join(lines[2:])
    yield "the end cut off", "events.jsonl", b"".join(lines[:-2])
    changed = contents["events.jsonl"].replace(b'"metric":1.7', b'"metric":1.6', 1)
    yield "a recorded score", "events.jsonl", changed


def test_a_bundle_proves_the_verdict_without_the_run(bundle: Path) -> None:
    report = verify_bundle(bundle)
    assert report.holds, report
    assert [f.name for f in report.findings if f.holds] == [
        "container", "digests", "chain", "records", "order", "code", "seeds", "verdict",
        *("rules", "claim"),
    ]  # fmt: skip
    assert report.claim["label"] == "confirmed"


def test_every_forgery_is_found_even_when_the_manifest_is_renewed(
    bundle: Path, tmp_path: Path
) -> None:
    contents = unpack_bundle(bundle.read_bytes())
    for what, name, content in edits(contents):
        assert content != contents[name], what
        assert broken(reseal(contents, {name: content}), tmp_path), what


def test_a_file_added_or_taken_away_is_found(bundle: Path, tmp_path: Path) -> None:
    contents = unpack_bundle(bundle.read_bytes())
    assert broken(reseal(contents, {"code/candidate/more.py": b"x = 1\n"}), tmp_path)
    for name in contents.keys() - {MANIFEST, "nonce"}:
        fewer = {n: d for n, d in contents.items() if n != name}
        assert broken(reseal(fewer, {}), tmp_path), name


def test_any_changed_byte_is_found(bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    rng = random.Random(2)
    path = tmp_path / "flipped.tar"
    for at in rng.sample(range(len(data)), 25):
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            assert not verify_bundle(path).holds, at
        except RecordError:
            pass  # not even an archive any more
    path.write_bytes(data + b"\0" * 512)
    assert not verify_bundle(path).holds


def test_while_a_run_goes_on_its_nonce_stays_closed(recorded: Recorded, tmp_path: Path) -> None:
    with recorded.run.lock():
        path = export_bundle(recorded.run, recorded.tree, tmp_path)
    report = verify_bundle(path)
    assert "nonce" not in unpack_bundle(path.read_bytes())
    assert report.holds
    assert {f.name: f.holds for f in report.findings}["seeds"] is None


def test_the_champion_is_exported_when_no_candidate_is_named(
    recorded: Recorded, tmp_path: Path
) -> None:
    path = write_evidence(recorded.run.path.parent, "r1", target=tmp_path)
    report, text = check_evidence(path)
    assert report.holds and "BROKEN" not in text and report.digest in text


def test_the_commands_export_and_check_and_a_forgery_has_exit_code_four(
    recorded: Recorded, tmp_path: Path
) -> None:
    runner = CliRunner()
    runs = str(recorded.run.path.parent)
    made = runner.invoke(app, ["evidence", "r1", "--runs", runs, "-o", str(tmp_path)])
    assert made.exit_code == 0, made.output
    (path,) = tmp_path.glob("*.tar")
    assert runner.invoke(app, ["verify", str(path)]).exit_code == 0
    contents = unpack_bundle(path.read_bytes())
    path.write_bytes(reseal(contents, {"claim.json": b"{}"}))
    checked = runner.invoke(app, ["verify", str(path)])
    assert checked.exit_code == 4 and "BROKEN" in checked.output


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parts[-4]}-{path.stem}")
def test_the_bundles_that_are_kept_with_results_hold(path: Path) -> None:
    report, text = check_evidence(path)
    assert report.holds and report.claim["label"] == "confirmed" and "BROKEN" not in text


def test_only_the_last_digits_of_fractions_may_differ() -> None:
    gain = {"gain": 0.1 + 0.2, "n": 2, "said": ["accept", None]}
    assert alike(gain, gain | {"gain": 0.3})
    for other in ({"gain": 0.3001}, {"n": 3}, {"n": 2.0}, {"n": True}, {"said": ["accept"]}):
        assert not alike(gain, gain | other)
    assert not alike(float("nan"), 1.0) and not alike(gain, gain | {"more": 1})


def test_a_bundle_of_older_rules_holds_and_tells_what_todays_would_say() -> None:
    said = {path.stem: check_evidence(path)[0].findings for path in KEPT}
    rules = {name: next(f for f in found if f.name == "rules") for name, found in said.items()}
    assert (
        rules["from-modern"].holds is True and "it is confirmed too" in rules["from-modern"].detail
    )
    assert rules["from-vanilla"].holds is None
    assert "quarantined: one step of +58.3%" in rules["from-vanilla"].detail


def test_what_is_not_there_is_said(recorded: Recorded, tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        write_evidence(recorded.run.path.parent, "r1", "ffff", tmp_path)
    with pytest.raises(UsageError):
        check_evidence(tmp_path / "none.tar")
    odd = tmp_path / "odd.tar"
    odd.write_bytes(b"not an archive")
    with pytest.raises(RecordError):
        check_evidence(odd)


def test_a_verdict_of_noise_is_proved_as_well(tmp_path: Path) -> None:
    recorded = record_run(tmp_path, gain=-0.003)
    report = verify_bundle(export_bundle(recorded.run, recorded.tree, tmp_path))
    assert report.holds and report.claim["label"] != "confirmed"


def test_a_key_that_stands_twice_in_an_object_is_found(bundle: Path, tmp_path: Path) -> None:
    contents = unpack_bundle(bundle.read_bytes())
    claim = contents["claim.json"].rstrip().removesuffix(b"}").rstrip() + b', "label": "confirmed"}'
    assert json.loads(claim)["label"] == json.loads(contents["claim.json"])["label"]
    assert "claim" in broken(
        reseal(contents, {"claim.json": b'{"label": "noise",' + claim[1:]}), tmp_path
    )
    first, _, rest = contents["events.jsonl"].partition(b"\n")
    twice = first.replace(b"{", b'{"tree":"0",', 1).replace(
        b'{"tree":"0",', b'{"tree":"0","tree":"0",', 1
    )
    assert "chain" in broken(reseal(contents, {"events.jsonl": twice + b"\n" + rest}), tmp_path)


def test_what_was_read_in_the_code_cannot_be_left_out(bundle: Path, tmp_path: Path) -> None:
    contents = unpack_bundle(bundle.read_bytes())
    facts = json.loads(contents["facts.json"]) | {"static": []}
    forged = reseal(contents, {"facts.json": json.dumps(facts).encode()})
    assert "records" in broken(forged, tmp_path)


def test_a_stranger_s_file_cannot_redraw_the_terminal_or_make_us_fall(
    bundle: Path, tmp_path: Path
) -> None:
    contents = unpack_bundle(bundle.read_bytes())
    evil = {"\x1b[2J\x1b[1;1Hholds.txt": b"x", "verdict.json": b"[" * 100_000, "facts.json": b"7"}
    for name, content in evil.items():
        path = tmp_path / "evil.tar"
        path.write_bytes(reseal(contents, {name: content}))
        report, text = check_evidence(path)
        assert "\x1b" not in text and "\x1b" not in render_report(report)
        assert not report.holds or name.startswith("\x1b")
    assert broken(reseal(contents, {"events.jsonl": b"[1]\n"}), tmp_path)


def test_a_sparse_file_of_a_petabyte_is_refused_unread(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("claim.json")
    entry.type, entry.size = tarfile.REGTYPE, 1 << 50
    with pytest.raises(RecordError):
        unpack_bundle(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


def test_code_that_nothing_isolated_leaves_the_question_open(tmp_path: Path) -> None:
    recorded = record_run(tmp_path)
    path = export_bundle(recorded.run, recorded.tree, tmp_path)
    contents = unpack_bundle(path.read_bytes())
    said = contents["run.toml"].replace(b"benchmark =", b'sandbox = "process"\nbenchmark =', 1)
    assert said != contents["run.toml"]
    path.write_bytes(reseal(contents, {"run.toml": said}))
    (isolation,) = (f for f in verify_bundle(path).findings if f.name == "isolation")
    assert isolation.holds is None and "isolates nothing" in isolation.detail
