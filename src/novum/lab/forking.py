"""Copy what a run had recorded up to one event into the folder of another run.

The events keep their numbers, times and digests, so the copy's chain begins as the original's does:
whoever knows the digest of that event can check that nothing before it was changed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence

import pygit2

from novum.errors import RecordError
from novum.lab.archive import CANDIDATES, CHAMPION, Archive
from novum.lab.blobs import Blobs
from novum.lab.chain import canonical
from novum.lab.ledger import Ledger
from novum.lab.records import Event

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
ID = re.compile(r"([a-z]+)(\d+)")
NUMBERED = ("trial.launched", "directive", "id")


def copy_events(events: Sequence[Event], target: Ledger, at: list[float]) -> None:
    """Write events into a ledger that is empty, and let its fresh ids come after theirs.

    `at` holds the time that the ledger's clock shows; it is left at that of the last event.

    Raises:
        RecordError: the copy's digests differ, so these are not the events of a whole chain.
    """
    with target.batch():
        for event in events:
            at[0] = event.at_s
            made = target.append(event.kind, event.payload, event.key)
            if made.digest != event.digest:
                raise RecordError(f"event {event.seq} ({event.kind}) does not fit those before it.")
        target.reserve_ids(highest_ids(events))


def highest_ids(events: Iterable[Event]) -> dict[str, int]:
    """The highest number that was given out for each kind of id."""
    highest: dict[str, int] = {}
    for event in events:
        if event.kind in NUMBERED and (found := ID.fullmatch(str(event.payload.get("id", "")))):
            highest[found[1]] = max(highest.get(found[1], 0), int(found[2]))
    return highest


def copy_blobs(events: Iterable[Event], source: Blobs, target: Blobs) -> int:
    """Link or copy the blobs that events name; returns how many."""
    digests = {d for event in events for d in DIGEST.findall(canonical(event.payload))}
    n = 0
    for digest in sorted(digests):
        for name in (digest[2:], digest[2:] + ".z"):
            path = source.folder / digest[:2] / name
            if not path.is_file():
                continue
            place = target.folder / digest[:2] / name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(path, place)
            n += 1
    return n


def copy_candidates(events: Iterable[Event], source: Archive, target: Archive) -> int:
    """Copy the commits of the candidates that events tell of, and the champion's ref."""
    old = pygit2.Repository(str(source.path), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
    new = pygit2.Repository(str(target.path), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
    commits: dict[str, str] = {}
    for event in events:
        if event.kind == "candidate":
            commits[event.payload["tree"]] = event.payload["commit"]
            _copy_object(old, new, old.get(event.payload["commit"]), event)
            new.references.create(CANDIDATES + event.payload["tree"], event.payload["commit"])
        elif event.kind == "champion":
            new.references.create(CHAMPION, commits[event.payload["tree"]], force=True)
    if commits:
        target.pack()
    return len(commits)


def _copy_object(old: pygit2.Repository, new: pygit2.Repository, item: object, of: Event) -> None:
    """An object and all below it; what is there already is left alone."""
    if not isinstance(item, pygit2.Object):
        raise RecordError(f"the archive lacks a part of the candidate of event {of.seq}.")
    if item.id in new:
        return
    if isinstance(item, pygit2.Commit):
        for parent in item.parent_ids:
            _copy_object(old, new, old.get(parent), of)
        _copy_object(old, new, old.get(item.tree_id), of)
    elif isinstance(item, pygit2.Tree):
        for entry in item:
            _copy_object(old, new, old.get(entry.id), of)
    new.odb.write(item.type, item.read_raw())
