"""A mirror: a second folder of a run, on another disk or machine, that is a whole run at any time.

    FOLDER/<name>/
      mirror.toml      of which run, and up to which event
      run.toml nonce ledger.db archive.git/ checkpoints.db blobs/ ...   as in the run's own folder

It is made by reading alone, so it can be made of a run that works, by that process or another.
What an event speaks of is there before the event is: first the checkpoints as they stand, then the
ledger, then blobs and candidates, and only then does the copy of the ledger take its place. So a
mirror whose maker is killed at any moment is the run as it stood a little earlier, which `resume`
goes on with. The index of the memory is left out: it is made again from the ledger.
"""

from __future__ import annotations

import errno
import re
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from filecmp import cmp
from pathlib import Path

from novum.errors import NovumError, UsageError
from novum.lab.chain import Anchor
from novum.lab.copying import Copier, drop, subfolders
from novum.lab.ledger import Ledger
from novum.lab.run import RunFolder
from novum.lab.toml import dumps

NOTE = "mirror.toml"
OWN = (NOTE, "lock")
SAME = ("name", "seed_commitment", "created_s")
"""Of run.toml: what no two runs share."""
PAIR = re.compile(r"[0-9a-f]{2}")
BLOB = re.compile(r"[0-9a-f]{62}(\.z)?")
LOOSE = re.compile(r"[0-9a-f]{38}")
PACKED = re.compile(r"pack-[0-9a-f]+\.(idx|pack|rev)")
PASSING = re.compile(r".*(\.new|\.mirrored|\.db-(wal|shm|journal))|new-.*|\..*")
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class Mirror:
    """Copies a run's folder into `folder/<name of the run>`, each time what is new."""

    def __init__(self, run: RunFolder, folder: Path) -> None:
        self.run = run
        self.path = folder.expanduser().absolute() / run.name
        self._copier = Copier(self.path)
        self._packs: set[str] = set()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the mirror, so that nobody works in it or mirrors into it meanwhile.

        Raises:
            UsageError: it is the run itself, another run's, or holds what this run does not.
            RunBusy: another process works there.
            OSError: it cannot be reached or written.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(RunFolder(self.path).lock())
            except OSError as error:
                if error.errno not in NO_LOCKS:  # some network file systems have none
                    raise
            self.check()
            if not (self.path / NOTE).exists():
                self._note(Anchor(0, ""))
            self._copier.forget()
            yield

    def check(self) -> None:
        """Raise unless the folder may become or stay the mirror of this run.

        Raises:
            UsageError: as `open`.
        """
        if self.path == self.run.path.absolute() or self.path.resolve() == self.run.path.resolve():
            raise UsageError(f"{self.path} is the run itself; it cannot be its own mirror.")
        if not self.path.is_dir():
            return
        if (self.path / "run.toml").is_file():
            theirs = RunFolder.open(self.path).info
            if any(theirs.get(key) != self.run.info.get(key) for key in SAME):
                raise UsageError(
                    f"{self.path} holds another run of this name; nothing was written there.\n"
                    "Choose another folder, or another `--name` for the run."
                )
            self._check_ledger()
        elif (self.path / NOTE).is_file():
            noted = tomllib.loads((self.path / NOTE).read_text())
            if noted.get("seed_commitment") != self.run.info["seed_commitment"]:
                raise UsageError(f"{self.path} is the mirror of another run, begun and not whole.")
        elif not all(p.name in OWN or PASSING.fullmatch(p.name) for p in self.path.iterdir()):
            raise UsageError(f"{self.path} holds files that are no mirror; nothing was written.")

    def copy(self) -> Anchor:
        """Bring the mirror up to date; returns where the event chain ends in it.

        Raises:
            OSError, sqlite3.Error: the mirror cannot be written, or the run cannot be read. The
                mirror stays what it was.
        """
        try:
            return self._copy()
        except BaseException:
            self._copier.forget()
            raise

    # --- inside ---

    def _copy(self) -> Anchor:
        copier, run = self._copier, self.run
        first = not (self.path / "run.toml").exists()
        noted = run.path / "anchor.toml"
        anchor = noted.read_text() if noted.exists() else ""
        databases = sorted(run.path.glob("*.db"), key=lambda p: (p.name == "ledger.db", p.name))
        new = [(copier.snapshot(db, self.path / db.name), self.path / db.name) for db in databases]
        with Ledger.open(new[-1][0], read_only=True) as ledger:
            end = ledger.anchor()
        self._copy_blobs()
        self._copy_archive()
        self._copy_files()
        for path, place in reversed(new):  # the ledger first: a checkpoint never runs ahead of it
            drop(place.with_name(place.name + log) for log in ("-wal", "-shm", "-journal"))
            copier.reveal(path, place)
        if anchor:
            copier.write(anchor, self.path / "anchor.toml")
        copier.flush()
        if first:  # last: a folder that has it is whole
            copier.copy(run.path / "run.toml", self.path / "run.toml")
        self._note(end)
        copier.flush()
        return end

    def _copy_blobs(self) -> None:
        for folder in subfolders(self.run.blobs.folder, PAIR):
            self._copier.copy_new(folder, self.path / "blobs" / folder.name, BLOB)

    def _copy_archive(self) -> None:
        """Refs are read before the objects they need are copied, and written after."""
        source, target = self.run.archive_path, self.path / "archive.git"
        refs = {p: p.read_bytes() for p in sorted((source / "refs").rglob("*")) if _is_ref(p)}
        packed = source / "packed-refs"  # after the loose ones, which move into it
        if packed.exists():
            refs[packed] = packed.read_bytes()
        for folder in subfolders(source / "objects", PAIR):
            self._copier.copy_new(folder, target / "objects" / folder.name, LOOSE)
        # After the loose ones: what went from there meanwhile is in a pack by now.
        packs = self._copier.copy_new(source / "objects/pack", target / "objects/pack", PACKED)
        self._copier.reveal_new()
        self._drop_packed(set(packs))
        for name in ("HEAD", "config"):
            if not (target / name).exists():
                self._copier.copy(source / name, target / name)
        (target / "refs").mkdir(exist_ok=True)
        for path, content in refs.items():
            place = target / path.relative_to(source)
            if not place.exists() or place.read_bytes() != content:
                place.parent.mkdir(parents=True, exist_ok=True)
                self._copier.write(content.decode(), place)

    def _drop_packed(self, packs: set[str]) -> None:
        """Drop loose objects whose originals have moved into a pack that was copied."""
        if not packs - self._packs:
            return
        self._packs |= packs
        objects, ours = self.run.archive_path / "objects", self.path / "archive.git/objects"
        loose = {p.name: {f.name for f in p.iterdir()} for p in subfolders(objects, PAIR)}
        packed = self._copier.copy_new(objects / "pack", ours / "pack", PACKED)
        self._packs |= set(packed)
        self._copier.reveal_new()
        for folder in subfolders(ours, PAIR):
            kept = loose.get(folder.name, set())
            drop(f for f in folder.iterdir() if LOOSE.fullmatch(f.name) and f.name not in kept)

    def _copy_files(self) -> None:
        """What else lies in the run's folder: the nonce, reports, tracebacks."""
        for path in sorted(self.run.path.iterdir()):
            skipped = path.suffix == ".db" or path.name in (*OWN, "run.toml", "anchor.toml")
            if skipped or not path.is_file() or PASSING.fullmatch(path.name):
                continue
            place = self.path / path.name
            if not (place.exists() and cmp(path, place, shallow=False)):
                self._copier.copy(path, place)

    def _check_ledger(self) -> None:
        """Raise unless the run has every event of the mirror."""
        place = self.path / "ledger.db"
        if not place.exists():
            return
        try:
            with Ledger.open(place, read_only=True) as ledger:
                end = ledger.anchor()
        except NovumError as error:
            raise UsageError(
                f"{self.path} cannot be read; remove it or take another: {error}"
            ) from error
        with self.run.ledger(read_only=True) as ledger:
            same = end.seq == 0 or any(
                event.digest == end.digest for event in ledger.events(end.seq - 1, limit=1)
            )
        if not same:
            raise UsageError(
                f"{self.path} holds events that this run has not: it was gone on with there.\n"
                f"`novum resume {self.path}` goes on with that one; or choose another folder."
            )

    def _note(self, end: Anchor) -> None:
        note = {
            "of": str(self.run.path.absolute()),
            "seed_commitment": self.run.info["seed_commitment"],
            "at_s": round(time.time(), 3),
            "seq": end.seq,
            "digest": end.digest,
        }
        self._copier.write(dumps(note), self.path / NOTE)


def _is_ref(path: Path) -> bool:
    return path.is_file() and not path.name.endswith((".lock", ".new"))
