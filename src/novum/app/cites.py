"""Check an answer in words against the records: every id exists, every number has a source.

A language model may say anything. What it says of a run is worth reading when it names the records
it rests on, and those records exist; this looks at both, and trusts no words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from novum.lab.queries import Queries

ID = re.compile(
    r"(?<![\w.-])(?:p\d+-\d+(?:/[0-9a-f]{6,})?|[td]\d+|(?:lesson|confirm|certify|v|e)-[\w-]+"
    r"|[a-z_]+-[0-9a-f]{8,}|(?=[0-9a-f]*\d)[0-9a-f]{7,40})(?![\w-])"
)
"""Names of records: proposals, trials, directives, verdicts, evidence, candidates."""
NUMBER = re.compile(
    r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?:\s?%)?", re.IGNORECASE
)
CLAIM = re.compile(r"\n+|(?<=[.!?;])\s+")
COUNTED = 10
"""Whole numbers below this are mostly counts of things just named (`both of the 2`)."""
MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Check:
    """What does not hold of an answer."""

    cited: tuple[str, ...]
    """Ids that exist."""
    unknown: tuple[str, ...]
    """Ids that no record has."""
    uncited: tuple[str, ...]
    """Numbers in sentences that name no record."""
    unseen: tuple[str, ...]
    """Numbers that are in no record that was read."""

    def words(self) -> str:
        """What to tell the reader; empty when all is well."""
        told = []
        if self.unknown:
            told.append(f"no record is called {_list(self.unknown)}")
        if self.unseen:
            told.append(f"in no record that was read: {_list(self.unseen)}")
        if uncited := [n for n in self.uncited if n not in self.unseen]:
            told.append(f"without a source: {_list(uncited)}")
        return "; ".join(told)


def check(answer: str, ledger: Queries, read: Iterable[str], said: str = "") -> Check:
    """Compare an answer with the ledger and with the texts that were read for it.

    Numbers that the person named (`said`) need no source.
    """
    pool = [v for text in read for v, _ in numbers(text)]
    given = {v for v, _ in numbers(said)}
    known: dict[str, bool] = {}
    uncited, unseen = [], []
    for claim in CLAIM.split(answer):
        ids = ID.findall(claim)
        known |= {id: exists(ledger, id) for id in ids if id not in known}
        has_source = any(known[id] for id in ids)
        for value, text in numbers(re.sub(r"^\s*\d+[.)]\s", "", ID.sub(" ", claim))):
            is_count = value == int(value) and abs(value) < COUNTED and "%" not in text
            if is_count or value in given:
                continue
            if not has_source:
                uncited.append(text)
            if not is_seen(value, text, pool):
                unseen.append(text)
    return Check(
        cited=tuple(id for id, is_known in known.items() if is_known),
        unknown=tuple(id for id, is_known in known.items() if not is_known),
        uncited=tuple(dict.fromkeys(uncited)),
        unseen=tuple(dict.fromkeys(unseen)),
    )


def exists(ledger: Queries, id: str) -> bool:
    """Whether a record goes by this name; a candidate by the beginning of its tree."""
    if ledger.holds(id.partition("/")[0]):
        return True
    return bool(re.fullmatch(r"[0-9a-f]{7,40}", id) and ledger.trees(id))


def numbers(text: str) -> list[tuple[float, str]]:
    """The numbers of a text, with how they are written."""
    found = []
    for match in NUMBER.finditer(text):
        written = match.group().strip()
        plain = written.replace(",", "").replace("−", "-").rstrip("% ")
        found.append((float(plain), written))
    return found


def is_seen(value: float, written: str, pool: Iterable[float]) -> bool:
    """Whether a number is one of the records', as rounded as it is written.

    A fraction is never taken for per cent: `gain +0.55 bit/byte` is no 55 %.
    """
    mantissa = written.lower().partition("e")[0]
    n_digits = len(mantissa.partition(".")[2].rstrip("% "))
    near = 0.5 * 10.0**-n_digits + 1e-12
    if "e" in written.lower():
        return any(abs(abs(x) - abs(value)) <= 0.06 * abs(value) for x in pool)
    return any(abs(abs(x) - abs(value)) <= near for x in pool)


def _list(words: Iterable[str]) -> str:
    shown = list(words)
    more = f" and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
    return ", ".join(shown[:MAX_SHOWN]) + more
