"""The evidence bundle: everything that a verdict rests on, in one file that is checked offline.

    claim.json    run, benchmark, candidate, reference, verdict
    verdict.json  evidence.json  facts.json    the decision, its steps, the numbers behind it
    events.jsonl  the run's hash-chained events from the first one up to the verdict
    code/         the files of both arms, named by their git tree hash
    run.toml      settings, versions, hardware, data fingerprint, commitment to the seeds
    nonce         opens the commitment; left out while the run goes on, for it tells future seeds
    MANIFEST.json the digest of each file

The file is a tar archive in one canonical form: the same contents give the same bytes, so that a
changed byte is found even where no reader would look.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from novum.errors import RecordError
from novum.evals.audit import judge
from novum.evals.facts import Facts, PastIdea, Terms, dump_facts
from novum.lab.chain import canonical
from novum.lab.codec import encode
from novum.lab.records import Json, Label, Verdict

if TYPE_CHECKING:
    from novum.lab.archive import Archive
    from novum.lab.ledger import Ledger
    from novum.lab.run import RunFolder

FORMAT = 1
MANIFEST = "MANIFEST.json"
PREFERRED = (Label.CONFIRMED, Label.PROMISING)


def export_bundle(run: RunFolder, candidate: str, target: Path) -> Path:
    """Write the evidence for the best verdict on a candidate; returns the path of the file.

    `candidate` is a tree hash or its beginning; `target` a file, or a folder to put it in.

    Raises:
        UnknownName: the run has no such candidate.
        RecordError: it has no verdict yet, or the verdict does not follow from the records.
    """
    with run.ledger(read_only=True) as ledger:
        archive = run.archive(read_only=True)
        tree = _full_tree(ledger, candidate)
        verdict = _best_verdict(ledger, tree)
        facts = restore_facts(ledger, verdict)
        judgement = judge(facts)
        if judgement.verdict != verdict:
            raise RecordError(
                f"verdict {verdict.id} does not follow from the records of {run.path}: "
                f"they give {judgement.decision}"
            )
        events = _events_until(ledger, f"facts:{verdict.id}")
    contents = {
        "claim.json": _json(
            {
                "run": run.name,
                "benchmark": run.info["benchmark"],
                "profile": run.info["profile"],
                "candidate": tree,
                "reference": verdict.reference,
                "verdict": verdict.id,
                "label": str(verdict.label),
                "gain": verdict.gain,
                "interval": verdict.interval,
            }
        ),
        "verdict.json": _json(encode(verdict)),
        "evidence.json": _json([encode(e) for e in judgement.evidence]),
        "facts.json": _json(dump_facts(facts)),
        "events.jsonl": events,
        "run.toml": (run.path / "run.toml").read_bytes(),
        **_code(archive, "candidate", tree),
        **_code(archive, "reference", verdict.reference),
    }
    if run.holder() is None:
        contents["nonce"] = run.nonce.encode()
    path = target / f"evidence-{run.name}-{tree[:10]}.tar" if target.is_dir() else target
    path.write_bytes(pack_bundle(contents))
    return path


def restore_facts(ledger: Ledger, verdict: Verdict) -> Facts:
    """The facts that a recorded verdict was computed from.

    Raises:
        RecordError: the run did not record them.
    """
    event = ledger.event(f"facts:{verdict.id}")
    if event is None:
        raise RecordError(f"{ledger.target} does not say what verdict {verdict.id} rests on")
    kept = event.payload
    evidence = {e.id: e for e in ledger.evidence(proposal=verdict.proposal)}
    return Facts(
        proposal=ledger.proposal(verdict.proposal),
        candidate=ledger.candidate(verdict.tree),
        reference=kept["reference"],
        terms=TypeAdapter(Terms).validate_python(kept["terms"]),
        trials=tuple(ledger.trial(id) for id in kept["trials"]),
        static=tuple(evidence[id] for id in kept["static"]),
        history=_history(ledger, verdict.id, kept["n_history"]),
        n_ideas=kept["n_ideas"],
        aim=kept["aim"],
        at_s=verdict.created_s,
    )


def pack_bundle(contents: Mapping[str, bytes]) -> bytes:
    """The one archive that these contents have; the manifest is made here."""
    digests = {name: sha256(data).hexdigest() for name, data in sorted(contents.items())}
    manifest = _json({"format": FORMAT, "files": digests})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (*sorted(contents.items()), (MANIFEST, manifest)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def unpack_bundle(data: bytes) -> dict[str, bytes]:
    """The files of an archive, the manifest among them; nothing is written anywhere.

    Raises:
        RecordError: it is not an archive of plain files.
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                is_whole = entry.isreg() and not entry.issparse() and entry.size <= len(data)
                file = tar.extractfile(entry) if is_whole else None
                if file is None or entry.name in contents:
                    raise RecordError(f"{entry.name!r} has no place in an evidence bundle")
                contents[entry.name] = file.read()
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise RecordError(f"this is not an evidence bundle: {error}") from error
    return contents


def _full_tree(ledger: Ledger, start: str) -> str:
    found = [c.tree for c in ledger.candidates() if c.tree.startswith(start)] if start else []
    if len(found) == 1:
        return found[0]
    return ledger.candidate(start).tree  # raises UnknownName


def _best_verdict(ledger: Ledger, tree: str) -> Verdict:
    verdicts = ledger.verdicts(tree=tree)
    for label in PREFERRED:
        found = [v for v in verdicts if v.label is label]
        if found:
            return found[-1]
    if not verdicts:
        raise RecordError(f"candidate {tree[:12]} has no verdict yet: there is nothing to prove")
    return verdicts[-1]


def _history(ledger: Ledger, verdict_id: str, n: int) -> tuple[PastIdea, ...]:
    """What came of the `n` ideas that were judged last before a verdict."""
    earlier: list[Verdict] = []
    for verdict in ledger.verdicts():
        if verdict.id == verdict_id:
            break
        earlier.append(verdict)
    ideas = []
    for verdict in earlier[len(earlier) - n :] if n else []:
        rests_on = set(verdict.evidence)
        records = {e.id: e for e in ledger.evidence(proposal=verdict.proposal)}
        ideas.append(PastIdea.of(verdict, (records[i] for i in verdict.evidence if i in rests_on)))
    return tuple(ideas)


def _events_until(ledger: Ledger, key: str) -> bytes:
    lines = []
    for event in ledger.events():
        row = [event.seq, event.at_s, event.kind, event.key, event.payload]
        lines.append(canonical([*row, event.previous, event.digest]))
        if event.key == key:
            return ("\n".join(lines) + "\n").encode()
    raise RecordError(f"{ledger.target} has no event {key}")


def _code(archive: Archive, arm: str, tree: str) -> dict[str, bytes]:
    return {f"code/{arm}/{name}": data for name, data in archive.files(tree).items()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def reseal(contents: Mapping[str, bytes], changes: Mapping[str, bytes]) -> bytes:
    """An archive with other contents and a manifest that fits them: what a forger would make."""
    kept = {name: data for name, data in contents.items() if name != MANIFEST}
    return pack_bundle(kept | dict(changes))


def without_time(verdict: Verdict) -> Json:
    """A verdict's values without the moment it was written down."""
    return encode(replace(verdict, created_s=0.0))
