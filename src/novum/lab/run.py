"""A run's folder: who works in it, what it was started with, and where its records lie.

    runs/<name>/
      run.toml         settings, versions, hardware, data fingerprint, seed commitment
      nonce            what every hidden seed is drawn from; readable by its owner only
      lock             the process that works here
      anchor.toml      where the event chain ended at the last stop
      beliefs          what was learned of ideas by then; made anew from the ledger where it lacks
      ledger.db  archive.git/  checkpoints.db  memory/  blobs/

`run.toml` holds sha256(nonce) from the first moment on: the nonce, shown later, proves that no seed
was chosen after its result was known.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from novum.errors import LedgerCorrupt, RecordError, RunBusy, UnknownName, UsageError
from novum.lab.archive import Archive
from novum.lab.blobs import Blobs
from novum.lab.chain import Anchor
from novum.lab.ledger import Ledger
from novum.lab.machine import hardware, versions
from novum.lab.records import Json
from novum.lab.toml import dumps

FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunFolder:
    """The records of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints.db"
        self.memory = path / "memory"
        self.blobs = Blobs(path / "blobs")

    @classmethod
    def create(
        cls,
        runs: Path,
        name: str,
        *,
        benchmark: str,
        profile: str,
        settings: Json,
        data_fingerprint: str = "",
        about: Mapping[str, Any] | None = None,
        nonce: str = "",
        also_free_in: Path | None = None,
    ) -> RunFolder:
        """Make the folder of a new run, its ledger and its archive.

        `name` may end in `*`, which stands for the first number free in `runs` (and in the folder
        of mirrors `also_free_in`, which another machine may have filled). `settings` are the
        resolved ones, without secrets; `about` is anything else worth keeping (start, harness
        digest, ...). A run that goes on from the records of another one draws its seeds from the
        `nonce` of that.

        Raises:
            UsageError: there is a run of this name, or the name is none.
        """
        self = cls(_claim(runs, name, also_free_in))
        nonce = nonce or secrets.token_hex(32)
        _write_private(self.path / "nonce", nonce + "\n")
        Ledger.create(self.ledger_path).close()
        Archive.create(self.archive_path)
        text = dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "benchmark": benchmark,
                "profile": profile,
                "created_s": round(time.time(), 3),
                "data_fingerprint": data_fingerprint,
                "seed_commitment": sha256(nonce.encode()).hexdigest(),
                **(about or {}),
                "versions": versions(),
                "hardware": hardware(),
                "settings": settings,
            }
        )
        _replace(self.path / "run.toml", text)  # last: a folder that has it is whole
        return self

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open the folder of a run.

        Raises:
            UnknownName: there is no run here.
            RecordError: another version of Novum wrote it, or run.toml is damaged.
        """
        self = cls(path)
        if not (path / "run.toml").is_file():
            raise UnknownName(f"{path} is not the folder of a run: it has no run.toml.")
        if self.info.get("format") != FORMAT:
            raise RecordError(
                f"{path} has format {self.info.get('format')}; this Novum reads {FORMAT}."
            )
        return self

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def ledger_path(self) -> Path:
        return self.path / "ledger.db"

    @property
    def archive_path(self) -> Path:
        return self.path / "archive.git"

    @cached_property
    def info(self) -> Json:
        """What run.toml says."""
        try:
            return tomllib.loads((self.path / "run.toml").read_text())
        except (OSError, ValueError) as error:
            raise RecordError(f"{self.path / 'run.toml'} cannot be read: {error}") from error

    @cached_property
    def nonce(self) -> str:
        """The secret that seeds are drawn from.

        Raises:
            RecordError: it is gone, or not the one that run.toml committed to.
        """
        try:
            nonce = (self.path / "nonce").read_text().strip()
        except OSError as error:
            raise RecordError(f"the nonce of {self.path} cannot be read: {error}") from error
        if sha256(nonce.encode()).hexdigest() != self.info["seed_commitment"]:
            raise RecordError(f"the nonce of {self.path} is not the one that run.toml commits to.")
        return nonce

    def ledger(self, *, read_only: bool = False) -> Ledger:
        """Open the ledger."""
        return Ledger.open(self.ledger_path, read_only=read_only)

    def archive(self, *, read_only: bool = False) -> Archive:
        """Open the archive."""
        return Archive.open(self.archive_path, read_only=read_only)

    def note_anchor(self, anchor: Anchor) -> None:
        """Write down where the event chain ends now."""
        _replace(self.path / "anchor.toml", dumps({"seq": anchor.seq, "digest": anchor.digest}))

    def anchor(self) -> Anchor | None:
        """Where the event chain ended when it was last noted."""
        path = self.path / "anchor.toml"
        if not path.exists():
            return None
        try:
            noted = tomllib.loads(path.read_text())
            return Anchor(noted["seq"], noted["digest"])
        except (ValueError, KeyError) as error:
            raise LedgerCorrupt(f"{path} is damaged: {error}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process alone; a dead process's lock counts for nothing.

        Raises:
            RunBusy: another process works here; the message says which.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunBusy(
                    f"run {self.name} is in use by {_holder(descriptor)}.\n"
                    f"Wait for it, or stop it with Ctrl-C or `kill`; "
                    f"`novum status {self.name}` shows what it does."
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, dumps(_this_process()).encode(), 0)
            yield
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def holder(self) -> Json | None:
        """The process that works here now (`pid`, `host`, `since_s`, `command`), if any."""
        path = self.path / "lock"
        if not path.exists():
            return None
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return tomllib.loads(_read(descriptor)) or {"pid": 0}
        finally:
            os.close(descriptor)
        return None


def list_runs(runs: Path) -> tuple[RunFolder, ...]:
    """Every run below a folder, the latest first."""
    if not runs.is_dir():
        return ()
    found = [RunFolder(toml.parent) for toml in runs.glob("*/run.toml")]
    return tuple(sorted(found, key=lambda run: run.info.get("created_s", 0), reverse=True))


def find_run(runs: Path, name: str | None = None) -> RunFolder:
    """The run of this name or at this path; the latest when none is named.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    if name is None:
        latest = list_runs(runs)
        if latest:
            return RunFolder.open(latest[0].path)
        raise UnknownName(
            f"there is no run in {runs.absolute()}.\n"
            "`novum run` starts one there; `--runs FOLDER` looks elsewhere."
        )
    for path in (runs / name, Path(name)):
        if (path / "run.toml").is_file():
            return RunFolder.open(path)
    if Path(name).exists():
        raise UnknownName(f"{name} is no run: a run is a folder with a run.toml.")
    known = [run.name for run in list_runs(runs)]
    there = ", ".join(known[:10]) or "none"
    near = get_close_matches(name, known, 1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise UnknownName(f"no run {name!r} in {runs.absolute()}.{guess} There is: {there}.")


def _claim(runs: Path, name: str, mirrors: Path | None) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    if not NAME.fullmatch(name.removesuffix("*")):
        raise UsageError(f"{name!r} cannot name a run: letters, digits, `.`, `_` and `-` can.")
    number = 1
    while True:
        path = runs / (name[:-1] + str(number) if name.endswith("*") else name)
        if name.endswith("*") and mirrors is not None and os.path.exists(mirrors / path.name):
            number += 1
            continue
        try:
            path.mkdir()
            return path
        except FileExistsError as error:
            if not name.endswith("*"):
                raise UsageError(
                    f"there is a run {name} in {runs} already.\n"
                    f"`novum resume {name}` goes on with it; `--name` takes another name."
                ) from error
            number += 1


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.replace(new, path)


def _this_process() -> Json:
    return {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "since_s": round(time.time(), 3),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
    }


def _holder(descriptor: int) -> str:
    try:
        who = tomllib.loads(_read(descriptor))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(who["since_s"]))
        return f"process {who['pid']} on {who['host']} (`{who['command']}`, since {since})"
    except (ValueError, KeyError):
        return "another process"


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 4096, 0).decode(errors="replace")
