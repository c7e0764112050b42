"""Blobs: logs, messages and artifacts of a run, each kept once under the digest of its content."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import zlib
from hashlib import file_digest, sha256
from io import BufferedWriter
from itertools import count
from pathlib import Path

from novum.errors import DiskFull, RecordError, UnknownName

_NUMBERS = count()


class Blobs:
    """A folder of content by digest; safe from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes | str) -> str:
        """Keep content, compressed; returns its digest. Nothing is kept of empty content."""
        raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
        if not raw:
            return ""
        digest = sha256(raw).hexdigest()
        target = self._path(digest).with_suffix(".z")
        if not target.exists():
            self._write(target, zlib.compress(raw, 3))
        return digest

    def put_file(self, path: Path) -> str:
        """Keep a file as it is; returns its digest."""
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
            target = self._path(digest)
            if not target.exists():
                file.seek(0)
                with self._new(target) as new:
                    shutil.copyfileobj(file, new)
        return digest

    def get(self, digest: str) -> bytes:
        """The content of a digest; empty for the empty digest.

        Raises:
            UnknownName: it was never kept.
            RecordError: the file no longer holds what was kept.
        """
        if not digest:
            return b""
        path = self._path(digest)
        try:
            if path.exists():
                raw = path.read_bytes()
            else:
                raw = zlib.decompress(path.with_suffix(".z").read_bytes())
        except FileNotFoundError as error:
            raise UnknownName(f"no blob {digest[:12]} in {self.folder}.") from error
        except zlib.error as error:
            raise RecordError(f"blob {digest[:12]} in {self.folder} is damaged.") from error
        if sha256(raw).hexdigest() != digest:
            raise RecordError(f"blob {digest[:12]} in {self.folder} is not what was kept.")
        return raw

    def text(self, digest: str) -> str:
        """The content of a digest as text."""
        return self.get(digest).decode(errors="replace")

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise UnknownName(f"{digest[:80]!r} is no digest of a blob.")
        return self.folder / digest[:2] / digest[2:]

    def _write(self, target: Path, content: bytes) -> None:
        with self._new(target) as new:
            new.write(content)

    def _new(self, target: Path) -> _NewFile:
        return _NewFile(target)


class _NewFile:
    """A file that appears under its name only when it is whole."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> BufferedWriter:
        name = self.target.with_name(f"new-{os.getpid()}-{threading.get_ident()}-{next(_NUMBERS)}")
        try:
            try:
                self.file = name.open("xb")
            except FileNotFoundError:  # the first blob of its folder
                self.target.parent.mkdir(parents=True, exist_ok=True)
                self.file = name.open("xb")
        except OSError as error:
            self._name_full_disk(error)
            raise
        return self.file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.file.close()
            if error is None:
                os.replace(self.file.name, self.target)
        except OSError as late:
            error = late
        if error is not None:
            Path(self.file.name).unlink(missing_ok=True)
            self._name_full_disk(error)
            raise error

    def _name_full_disk(self, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no room is left in {self.target.parent}. Free some space and resume the run."
            ) from error
