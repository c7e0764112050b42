"""The hash chain under the trace: canonical text, digests, and the check of a whole chain.

Each event's digest covers its number, time, kind, key, payload and the digest of the event before
it, so an edit, deletion, insertion or reorder anywhere changes every later digest. A cut tail
leaves a shorter chain that is whole in itself; it is found because the ledger also records where
its chain ends (`Anchor`). Whoever can rewrite the chain *and* that record can only be caught by an
anchor kept elsewhere: the run folder keeps one, and certificates quote one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from novum.errors import LedgerCorrupt
from novum.lab.records import Event, Json

GENESIS = sha256(b"novum ledger 1").hexdigest()
"""What the first event names as the digest before it."""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
"""Made once: `json.dumps` makes another for each value, which takes longer than to encode it."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a chain ended when somebody looked: enough to prove later that nothing was cut off."""

    seq: int
    digest: str


def canonical(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, ASCII only, floats to the last digit."""
    return _ENCODER.encode(value)


def digest(seq: int, at_s: float, kind: str, key: str, payload: str, previous: str) -> str:
    """Digest of one event; `payload` is its canonical text."""
    line = f"{seq}\n{at_s!r}\n{canonical(kind)}\n{canonical(key)}\n{previous}\n{payload}"
    return sha256(line.encode("ascii")).hexdigest()


def link(at_s: float, kind: str, key: str, payload: Json, after: Anchor) -> tuple[Event, str]:
    """The event that follows `after`, and the canonical text of its payload."""
    text = canonical(payload)
    seq = after.seq + 1
    event = Event(
        seq=seq,
        at_s=at_s,
        kind=kind,
        key=key,
        payload=json.loads(text),
        previous=after.digest,
        digest=digest(seq, at_s, kind, key, text, after.digest),
    )
    return event, text


def checked(
    events: Iterable[tuple[int, float, str, str, str, str, str]], end: Anchor
) -> Iterator[Event]:
    """Yield the events of `(seq, at_s, kind, key, payload text, previous, digest)` rows in order.

    Raises:
        LedgerCorrupt: naming the first event that does not fit, or the missing tail.
    """
    last = Anchor(0, GENESIS)
    for seq, at_s, kind, key, text, previous, claimed in events:
        where = f"event {last.seq + 1}"
        if seq != last.seq + 1:
            raise LedgerCorrupt(f"{where} is missing: event {last.seq} is followed by {seq}")
        if previous != last.digest:
            raise LedgerCorrupt(f"{where} ({kind}) does not follow the event before it")
        if claimed != digest(seq, at_s, kind, key, text, previous):
            raise LedgerCorrupt(f"{where} ({kind}, {key}) was changed after it was written")
        last = Anchor(seq, claimed)
        yield Event(seq, at_s, kind, key, json.loads(text), previous, claimed)
    if last != end:
        raise LedgerCorrupt(
            f"the chain ends at event {last.seq}, but event {end.seq} was the last one written"
        )
