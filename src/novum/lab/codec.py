"""Records to plain JSON values and back, exactly.

Only the fields whose JSON form differs from their own are listed; a record that gains a plain
field needs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from novum.lab.records import (
    Candidate,
    Directive,
    Evidence,
    Json,
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

Record = Proposal | Candidate | Trial | Evidence | Verdict | Directive | Lesson | Probe
R = TypeVar("R", bound=Record)


def _pair(value: list[float] | None) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])


def _probes(value: list[Json]) -> tuple[Probe, ...]:
    return tuple(decode(Probe, probe) for probe in value)


READ: Mapping[type, Mapping[str, Callable[[Any], Any]]] = {
    Proposal: {"kind": Kind, "parents": tuple},
    Candidate: {"parents": tuple},
    Trial: {"purpose": Purpose, "status": TrialStatus, "probes": _probes},
    Probe: {"outcome": Outcome},
    Evidence: {"outcome": Outcome, "trials": tuple},
    Verdict: {"label": Label, "interval": _pair, "evidence": tuple},
    Directive: {},
    Lesson: {
        "kind": Kind,
        "label": Label,
        "interval": _pair,
        "parents": tuple,
        "moves": tuple,
        "lineage": tuple,
    },
}


NAMES = {record: tuple(f.name for f in fields(record)) for record in READ}


def encode(record: Record) -> Json:
    """A record as a dict of plain values, one key for each field."""
    values = {name: getattr(record, name) for name in NAMES[type(record)]}
    if isinstance(record, Trial):
        values["probes"] = [encode(probe) for probe in record.probes]
    return values


def decode(record: type[R], values: Json) -> R:
    """The record that `encode` made `values` from."""
    read = READ[record]
    plain = {name: read[name](v) if name in read else v for name, v in values.items()}
    return record(**plain)
