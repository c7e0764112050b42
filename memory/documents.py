"""What a memory keeps: lessons, failures with their fix, and a pack's knowledge, as documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from novum.lab.codec import decode, encode
from novum.lab.records import Lesson

MAX_TEXT = 4_000


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that a candidate ran into, and what became of it."""

    run: str
    benchmark: str
    error: str
    fix: str = ""
    """How it was got rid of; empty when it was not."""
    proposal: str = ""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """A known technique of a pack: what others report, which nothing here has shown yet."""

    benchmark: str
    name: str
    title: str
    text: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One entry of a collection."""

    id: str
    text: str
    """What it is found by."""
    body: str
    """The record as JSON."""
    tags: Mapping[str, str | float]
    """Small facts to filter by and to weigh with."""


def of_lesson(lesson: Lesson) -> Document:
    """A lesson as a document; ids repeat from run to run, so the run is part of it."""
    text = f"{lesson.hypothesis}\n{lesson.kind}\n{lesson.diff_summary}"
    tags: dict[str, str | float] = {
        "run": lesson.run,
        "benchmark": lesson.benchmark,
        "label": str(lesson.label),
        "kind": str(lesson.kind),
        "tree": lesson.tree,
        "created_s": lesson.created_s,
    }
    return Document(f"{lesson.run}/{lesson.id}", text[:MAX_TEXT], _dumps(encode(lesson)), tags)


def to_lesson(body: str) -> Lesson:
    """The lesson of a document's body."""
    return decode(Lesson, json.loads(body))


def of_failure(failure: Failure) -> Document:
    """A failure as a document: found by its error."""
    body = {name: getattr(failure, name) for name in Failure.__slots__}
    digest = sha256(_dumps([failure.run, failure.error, failure.fix]).encode()).hexdigest()[:16]
    tags: dict[str, str | float] = {"run": failure.run, "benchmark": failure.benchmark}
    return Document(f"{failure.run}/{digest}", failure.error[-MAX_TEXT:], _dumps(body), tags)


def to_failure(body: str) -> Failure:
    """The failure of a document's body."""
    return Failure(**json.loads(body))


def of_knowledge(knowledge: Knowledge) -> Document:
    """A technique as a document."""
    body = {name: getattr(knowledge, name) for name in Knowledge.__slots__}
    text = f"{knowledge.title}\n{knowledge.text}"
    tags: dict[str, str | float] = {"benchmark": knowledge.benchmark}
    id = f"{knowledge.benchmark}/{knowledge.name}"
    return Document(id, text[:MAX_TEXT], _dumps(body), tags)


def to_knowledge(body: str) -> Knowledge:
    """The technique of a document's body."""
    return Knowledge(**json.loads(body))


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
