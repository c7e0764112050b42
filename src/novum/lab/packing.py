"""Keep an archive of many candidates small: loose objects and refs move into packs now and then.

A loose object or ref takes a file of at least one disk block; in a pack, a candidate that changes
some lines takes a few hundred bytes. Readers find a thing in either place at any moment: the pack
is complete before the loose files go.
"""

from __future__ import annotations

import os
from pathlib import Path

import pygit2
from pygit2.packbuilder import PackBuilder

EVERY = 1536
"""Loose objects before they are packed: about 500 candidates and 6 MB."""
HEADER = "# pack-refs with: peeled fully-peeled sorted"


class LooseFiles:
    """Counts the loose objects of a repository, and packs them when they are many."""

    def __init__(self, repository: pygit2.Repository, path: Path, refs: str) -> None:
        self._repo = repository
        self._path = path
        self._refs = refs
        self._n_loose: int | None = None

    def count(self, more: int) -> None:
        """Take note of `more` new objects, and pack when it is time."""
        if self._n_loose is None:
            self._n_loose = len(self._objects())
        else:
            self._n_loose += more
        if self._n_loose >= EVERY:
            self.pack()

    def pack(self) -> int:
        """Pack all loose objects and refs; returns how many objects that were."""
        files = self._objects()
        if files:
            self._repo.pack(pack_delegate=lambda builder: _add(builder, files), n_threads=1)
            for file in files:
                file.unlink(missing_ok=True)
        self._pack_refs()
        self._n_loose = 0
        return len(files)

    def _objects(self) -> list[Path]:
        folders = [f for f in (self._path / "objects").iterdir() if len(f.name) == 2]
        return [file for folder in folders for file in folder.iterdir() if len(file.name) == 38]

    def _pack_refs(self) -> None:
        # libgit2's own packing looks up every object of every ref: 1.4 s at 10,000 candidates,
        # where this takes 0.03 s. Only one process writes an archive, so a plain rename is enough.
        loose = [f for f in (self._path / self._refs).glob("*") if len(f.name) in (40, 64)]
        if not loose:
            return
        packed = self._path / "packed-refs"
        lines = packed.read_text().splitlines() if packed.exists() else []
        targets = {line[41:]: line[:40] for line in lines if line[:1] not in ("#", "^")}
        targets |= {self._refs + file.name: file.read_text().strip() for file in loose}
        text = "\n".join([HEADER, *(f"{targets[name]} {name}" for name in sorted(targets))])
        new = packed.with_name("packed-refs.new")
        new.write_text(text + "\n")
        os.replace(new, packed)
        for file in loose:
            file.unlink()


def _add(builder: PackBuilder, files: list[Path]) -> None:
    for file in files:
        builder.add(pygit2.Oid(hex=file.parent.name + file.name))
