"""What was learned of ideas, kept beside the ledger, so that a resume need not learn it again.

To learn from a trial takes a millisecond, to read it from the ledger a tenth of that. So a run
keeps its beliefs now and then, with the event after which they were held; a resume reads all events
as ever, but begins to learn at the first one after it. A file that is missing, damaged, sealed by
another run, made by other code or of another chain is left alone, and all is learned again: the
beliefs are the same to the last bit either way, so the file can change no decision. Who verifies or
replays a run does not read it.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import platform
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from novum.agents.plain import Plain
from novum.agents.search.effects import Effects
from novum.benchmarks.pack import digest_files
from novum.lab.chain import Anchor, canonical

if TYPE_CHECKING:
    from novum.agents.lab import Lab

log = logging.getLogger(__name__)
NAME = "beliefs"
EVERY = 500
"""Closed ideas after which they are kept again: it takes as long as a few of them."""
FEW = 100
"""Closed ideas since then for which it is not worth doing at the end."""
CODE = Path(__file__).parent
LEARNED_BY = (CODE, CODE.parent / "lab")
PARTS = {"effects": Effects, "surprises": list[float], "top": list[tuple[float, str]]}


class Misfit(ValueError):
    """What was kept is not of these events."""


class Asleep(Effects):
    """Stands for the model while trials are read from which it has learned already."""

    def add(self, idea: str, kind: Any) -> None:
        return

    def note(self, tree: str, ideas: Any, score: float) -> float:
        return 0.0

    def mean_of(self, ideas: Any) -> float:
        return 0.0


class Kept:
    """Beliefs that were read from a run's folder: those held after event `seq`."""

    def __init__(self, seq: int, parts: dict[str, Any]) -> None:
        self.seq = seq
        self._parts = parts

    def give_to(self, lab: Lab) -> None:
        """The lab has read all events up to this one: it believes this of them.

        Raises:
            Misfit: they are of other candidates than the lab has found.
        """
        findings, surprises = lab.findings, self._parts["surprises"]
        top = list(self._parts["top"])
        if len(surprises) != len(findings.nodes) or any(t not in findings.nodes for _, t in top):
            raise Misfit(f"it is of other candidates than events up to {self.seq} tell of")
        for node, surprise in zip(findings.nodes.values(), surprises, strict=True):
            node.surprise = surprise
        findings.effects, findings._top = self._parts["effects"], top
        lab.n_kept = findings.n_closed


def keep_if_due(lab: Lab, least: int = EVERY) -> None:
    """Keep what is believed now, if much was learned since. Between steps of the loop: what is in
    the ledger by then is in the findings too."""
    if lab.findings.n_closed - lab.n_kept >= least:
        keep(lab)


def keep(lab: Lab) -> None:
    """Keep what is believed now.

    A disk that is full, or a part of the model that has no plain form, costs the next resume some
    seconds and this run nothing.
    """
    findings = lab.findings
    lab.n_kept = findings.n_closed
    path = lab.run.path / NAME
    try:
        at, plain = lab.ledger.anchor(), Plain()
        surprises = [node.surprise for node in findings.nodes.values()]
        held = {"effects": findings.effects, "surprises": surprises, "top": findings._top}
        parts = {name: plain.of(kind, held[name]) for name, kind in PARTS.items()}
        body = {"at": [at.seq, at.digest], "by": made_by(lab), "parts": parts, **plain.tables()}
        text = json.dumps(body, separators=(",", ":")).encode()
        new = path.with_name(NAME + ".new")
        new.write_bytes(seal(lab, text) + b"\n" + text)
        os.replace(new, path)
    except (OSError, TypeError, ValueError) as error:
        log.warning("what is believed of ideas was not kept: %s", error)


def find(lab: Lab) -> Kept | None:
    """What was kept for a lab that has read nothing yet; `None` where nothing serves."""
    try:
        mark, _, text = (lab.run.path / NAME).read_bytes().partition(b"\n")
        if not hmac.compare_digest(mark, seal(lab, text)):
            raise ValueError("it is damaged, or another run made it")
        body = json.loads(text)
        if body["by"] != made_by(lab):
            raise ValueError("other code made it")
        at = Anchor(*body["at"])
        found = lab.ledger.events(at.seq - 1, limit=1)
        if not found or (found[0].seq, found[0].digest) != (at.seq, at.digest):
            raise ValueError(f"the ledger has no such event {at.seq}")
        plain = Plain(body["words"], body["tuples"])
        return Kept(at.seq, {k: plain.back(kind, body["parts"][k]) for k, kind in PARTS.items()})
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError, LookupError) as error:
        log.warning("%s is not used, all is learned again from the ledger: %s", NAME, error)
        return None


def seal(lab: Lab, text: bytes) -> bytes:
    """Tells this run's file from any other, and a damaged one from a whole one."""
    return hmac.digest(lab.run.nonce.encode(), text, "sha256").hex().encode()


def made_by(lab: Lab) -> str:
    """Digest of what decides, besides the events, what is believed."""
    told = {
        "code": code(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "better": lab.findings.better,
        "kinds": dict(lab.findings.move_kinds),
    }
    return sha256(canonical(told).encode()).hexdigest()


@cache
def code() -> str:
    """Digest of the code that reads and learns."""
    files = (p for folder in LEARNED_BY for p in folder.rglob("*.py"))
    return digest_files({p.relative_to(CODE.parent).as_posix(): p.read_bytes() for p in files})
