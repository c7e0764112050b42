"""Check an evidence bundle offline: digests, chain, seeds, code, and the verdict recomputed.

Needs the bundle and this package only: no run, no ledger, no network, no device.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from novum.benchmarks.harness import tree_hash
from novum.errors import LedgerCorrupt
from novum.evals.audit import judge
from novum.evals.bundle import FORMAT, MANIFEST, pack_bundle, unpack_bundle
from novum.evals.facts import RULES, Facts, load_facts, load_terms
from novum.lab.chain import GENESIS, Anchor, canonical, checked
from novum.lab.codec import encode
from novum.lab.counted import counted
from novum.lab.records import Event, Json, Trial


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of a bundle."""

    name: str
    holds: bool | None
    """`None`: cannot be decided from this bundle, and `detail` says why."""
    detail: str


@dataclass(frozen=True, slots=True)
class BundleReport:
    """All checks of a bundle."""

    findings: tuple[Finding, ...]
    claim: Json
    digest: str
    """sha256 of the file: what to compare when the bundle came from somebody else."""

    @property
    def holds(self) -> bool:
        """Whether no check failed."""
        return all(f.holds is not False for f in self.findings)


LAST_DIGITS = 1e-9
NAMED_BY_CONTENT = frozenset({"id", "evidence"})
"""Names that follow from the content to its last digit; that it is the recorded one is the chain's
to prove."""


class _Broken(Exception):
    """A check failed; the message says how."""


class _Undecided(Exception):
    """A check cannot be made with what the bundle holds."""


def verify_bundle(path: Path) -> BundleReport:
    """Check a bundle.

    Raises:
        RecordError: it is not an evidence bundle at all.
    """
    data = path.read_bytes()
    bundle = _Bundle(unpack_bundle(data))
    findings = []
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("container", lambda: bundle.check_container(data)),
        ("digests", bundle.check_digests),
        ("chain", bundle.check_chain),
        ("records", bundle.check_records),
        ("order", bundle.check_order),
        ("code", bundle.check_code),
        ("seeds", bundle.check_seeds),
        ("verdict", bundle.check_verdict),
        ("rules", bundle.check_rules),
        ("claim", bundle.check_claim),
        ("isolation", bundle.check_isolation),
    )
    for name, check in checks:
        try:
            findings.append(Finding(name, True, check()))
        except _Undecided as reason:
            findings.append(Finding(name, None, str(reason)))
        except _Broken as reason:
            findings.append(Finding(name, False, str(reason)))
        except Exception as error:  # whatever a stranger's file makes of us: it does not hold
            findings.append(Finding(name, False, f"unreadable: {type(error).__name__}: {error}"))
    try:
        claim: Json = json.loads(bundle.contents.get("claim.json", b"{}"))
    except (ValueError, RecursionError):
        claim = {}
    return BundleReport(tuple(findings), claim, sha256(data).hexdigest())


class _Bundle:
    """The contents of a bundle, read once each."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self._facts: Facts | None = None
        self._events: list[Event] | None = None

    def json(self, name: str) -> Any:
        if name not in self.contents:
            raise _Broken(f"{name} is missing")
        return json.loads(self.contents[name], object_pairs_hook=_once)

    @property
    def facts(self) -> Facts:
        if self._facts is None:
            self._facts = load_facts(self.json("facts.json"))
        return self._facts

    @property
    def events(self) -> list[Event]:
        if self._events is None:
            self._events = list(self._read_events())
        return self._events

    def check_container(self, data: bytes) -> str:
        """The file is the one canonical archive of its contents."""
        rest = {k: v for k, v in self.contents.items() if k != MANIFEST}
        if pack_bundle(rest) != data:
            raise _Broken("the archive is not in canonical form: bytes were changed or added")
        return f"{len(data):,} bytes in canonical form"

    def check_digests(self) -> str:
        """Every file has the digest that the manifest gives it, and there is no other."""
        manifest = self.json(MANIFEST)
        if manifest["format"] != FORMAT:
            raise _Broken(f"format {manifest['format']}; this Novum reads {FORMAT}")
        found = {n: sha256(d).hexdigest() for n, d in self.contents.items() if n != MANIFEST}
        wrong = sorted(
            n for n in found.keys() | manifest["files"].keys()
            if found.get(n) != manifest["files"].get(n)
        )  # fmt: skip
        if wrong:
            raise _Broken(f"changed, missing or added: {', '.join(wrong)}")
        return counted(len(found), "file")

    def check_chain(self) -> str:
        """Every event's digest covers its content and the event before it."""
        events = self.events
        return f"{counted(len(events), 'event')}, ending at {events[-1].digest[:16]}"

    def check_records(self) -> str:
        """Proposal, candidate, trials, evidence and verdict are those of the chain."""
        facts = self.facts
        self._same("proposal", facts.proposal.id, encode(facts.proposal))
        self._same("candidate", facts.candidate.tree, encode(facts.candidate))
        for record in self.json("evidence.json"):
            self._same("evidence", record["id"], record)
        verdict = self.json("verdict.json")
        self._same("verdict", verdict["id"], verdict)
        recorded = self._trials()
        for trial in facts.trials:
            if recorded.get(trial.id) != encode(trial):
                raise _Broken(f"trial {trial.id} is not as it was recorded")
        outline = self._payload(f"facts:{verdict['id']}")
        if outline["static"] != [e.id for e in facts.static]:
            raise _Broken("what was read in the code is not what the verdict was computed from")
        if outline["reference"] != facts.reference:
            raise _Broken("the reference is not the one that the verdict was computed from")
        if outline["trials"] != [t.id for t in facts.trials]:
            raise _Broken("the trials are not those that the verdict was computed from")
        if load_terms(outline["terms"]) != facts.terms:
            raise _Broken("the terms are not those that the verdict was computed from")
        if (outline["aim"], outline["n_ideas"], outline["n_history"]) != (
            facts.aim,
            facts.n_ideas,
            len(facts.history),
        ):
            raise _Broken("aim or history are not those that the verdict was computed from")
        return (
            f"{counted(len(facts.trials), 'trial')} and "
            f"{counted(len(self.json('evidence.json')), 'step')} as recorded"
        )

    def check_order(self) -> str:
        """The candidate was frozen before its first trial, and judged after its last one."""
        tree, verdict = self.facts.candidate.tree, self.json("verdict.json")["id"]
        at = {e.key: e.seq for e in self.events}
        frozen, judged = at[f"candidate:{tree}"], at[f"verdict:{verdict}"]
        for event in self.events:
            if event.kind == "trial.launched" and event.payload["tree"] == tree:
                if event.seq < frozen:
                    raise _Broken(f"trial {event.payload['id']} began before the code was frozen")
        late = [t.id for t in self.facts.trials if at.get(f"end:{t.id}", judged) > judged]
        if late:
            raise _Broken(f"trials {', '.join(late)} ended after the verdict")
        return "frozen, then run, then judged"

    def check_code(self) -> str:
        """The files of both arms have the tree hashes that the trials name."""
        for arm, tree in (
            ("candidate", self.facts.candidate.tree),
            ("reference", self.facts.reference),
        ):
            prefix = f"code/{arm}/"
            files = {n[len(prefix) :]: d for n, d in self.contents.items() if n.startswith(prefix)}
            if (found := tree_hash(files)) != tree:
                raise _Broken(f"the code of the {arm} has tree hash {found[:12]}, not {tree[:12]}")
        return "both arms' code has its tree hash"

    def check_seeds(self) -> str:
        """The nonce opens the commitment, and every seed follows from it."""
        if "nonce" not in self.contents:
            raise _Undecided("the run had not ended: its nonce stays closed, or seeds were known")
        nonce = self.contents["nonce"].decode().strip()
        info = tomllib.loads(self.contents["run.toml"].decode())
        if sha256(nonce.encode()).hexdigest() != info["seed_commitment"]:
            raise _Broken("the nonce is not the one that run.toml committed to")
        from novum.lab.ledger import draw_seed  # late: it needs SQLAlchemy

        for trial in self.facts.trials:
            if trial.seed != draw_seed(nonce, trial.tree, trial.seed_index):
                raise _Broken(f"the seed of trial {trial.id} does not follow from the nonce")
        return f"{counted(len(self.facts.trials), 'seed')} drawn from the opened nonce"

    def check_verdict(self) -> str:
        """The verdict, and every step of evidence, follow from the numbers."""
        judgement = judge(self.facts)
        if judgement.verdict is None:
            raise _Broken(f"the numbers give no verdict: {judgement.decision}")
        recorded, evidence = self.json("verdict.json"), self.json("evidence.json")
        again = json.loads(json.dumps(encode(judgement.verdict)))
        names = again.keys() - NAMED_BY_CONTENT
        if different := sorted(k for k in names if not alike(again[k], recorded.get(k))):
            raise _Broken(f"recomputed from the numbers, {', '.join(different)} differ")
        steps = json.loads(json.dumps([encode(e) for e in judgement.evidence]))
        if [e["id"] for e in evidence] != recorded["evidence"] or not alike(
            [_unnamed(step) for step in steps], [_unnamed(step) for step in evidence]
        ):
            raise _Broken("recomputed from the numbers, the steps of evidence differ")
        return f"{judgement.verdict.label}: {judgement.verdict.reason}"[:200]

    def check_rules(self) -> str:
        """Today's rules say of the numbers what those of the time said."""
        facts = self.facts
        if facts.terms.rules == RULES:
            return f"version {RULES}, today's"
        now = judge(replace(facts, terms=replace(facts.terms, rules=RULES)))
        label = self.json("verdict.json")["label"]
        said = f"judged by version {facts.terms.rules}"
        if now.verdict is not None and now.verdict.label == label:
            return f"{said}; by version {RULES}, today's, it is {label} too"
        today = f"{now.verdict.label}: {now.verdict.reason}" if now.verdict else "undecided"
        raise _Undecided(f"{said}; by version {RULES}, today's, it is {today}"[:300])

    def check_claim(self) -> str:
        """What the bundle claims on its first page is what it proves."""
        claim, verdict = self.json("claim.json"), self.json("verdict.json")
        info = tomllib.loads(self.contents["run.toml"].decode())
        wanted = {
            "run": info["name"],
            "benchmark": info["benchmark"],
            "profile": info["profile"],
            "candidate": verdict["tree"],
            "reference": verdict["reference"],
            "verdict": verdict["id"],
            "label": verdict["label"],
            "gain": verdict["gain"],
            "interval": verdict["interval"],
        }
        if claim != wanted:
            wrong = sorted(k for k in wanted.keys() | claim.keys() if claim.get(k) != wanted.get(k))
            raise _Broken(f"claim.json differs from the records in {', '.join(wrong)}")
        return f"{claim['label']} on {claim['benchmark']}"

    def check_isolation(self) -> str:
        """The candidate could reach nothing but what it was given."""
        sandbox = tomllib.loads(self.contents["run.toml"].decode()).get("sandbox")
        if sandbox is None:
            raise _Undecided("run.toml does not say where the code ran")
        if sandbox == "process":
            raise _Undecided(
                "the sandbox `process` isolates nothing: trust it if you trust the code"
            )
        return f"sandbox {sandbox}"

    def _read_events(self) -> Iterator[Event]:
        if "events.jsonl" not in self.contents:
            raise _Broken("events.jsonl is missing")
        lines = self.contents["events.jsonl"].decode().splitlines()
        rows = [json.loads(line, object_pairs_hook=_once) for line in lines]
        if not rows:
            raise _Broken("there are no events")
        if rows[0][5] != GENESIS:
            raise _Broken("the chain does not begin at its beginning")
        end = Anchor(rows[-1][0], rows[-1][6])
        typed = [(r[0], r[1], r[2], r[3], canonical(r[4]), r[5], r[6]) for r in rows]
        try:
            yield from checked(typed, end)
        except LedgerCorrupt as error:
            raise _Broken(str(error)) from error

    def _payload(self, key: str) -> Json:
        for event in self.events:
            if event.key == key:
                return event.payload
        raise _Broken(f"the chain has no event {key}")

    def _same(self, kind: str, id: str, record: Json) -> None:
        recorded = self._payload(f"{kind}:{id}")
        if json.loads(json.dumps(record)) != recorded:
            raise _Broken(f"{kind} {id} is not as it was recorded")

    def _trials(self) -> dict[str, Json]:
        """Every trial as the chain has it: launched, then ended."""
        found: dict[str, Json] = {}
        for event in self.events:
            if event.kind == "trial.launched":
                found[event.payload["id"]] = dict(event.payload)
            elif event.kind == "trial.ended":
                ended = {k: v for k, v in event.payload.items() if k != "spent"}
                found[event.payload["id"]] |= ended
        return {id: json.loads(json.dumps(encode(_trial(body)))) for id, body in found.items()}


def _trial(body: Json) -> Trial:
    from novum.lab.codec import decode

    return decode(Trial, body)


def _unnamed(step: Json) -> Json:
    return {k: v for k, v in step.items() if k not in NAMED_BY_CONTENT}


def alike(a: Any, b: Any) -> bool:
    """Whether two values are the same but for the last digits of fractions.

    Those depend on the machine: Python sums otherwise since 3.12, numpy by the processor.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=LAST_DIGITS)
    return type(a) is type(b) and bool(a == b)


def _once(pairs: list[tuple[str, Any]]) -> Json:
    """An object whose keys are all different: of two values a reader may see either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names one key twice")
    return found


def _plain(text: str) -> str:
    """One line without anything that moves a terminal's cursor or hides what stands there."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def render_report(report: BundleReport) -> str:
    """The report as lines for a person; what a stranger wrote cannot redraw the terminal."""
    marks = {True: "holds", False: "BROKEN", None: "open"}
    lines = [f"{marks[f.holds]:>7}  {f.name:<10} {_plain(f.detail)}" for f in report.findings]
    lines.append(f"sha256 {report.digest}")
    return "\n".join(lines)


def report_json(report: BundleReport) -> Json:
    """The report as plain values."""
    return asdict(report) | {"holds": report.holds}
