"""The recorded run that ships with the package: what Novum does, without a key and without waiting.

It is a real run of the nanochat pack, kept as a zip of its folder. It is unpacked for each use, so
that nothing done to the copy lasts.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from novum.lab.run import RunFolder

FILE = "demo.zip"
NAME = "demo"
LEFT_OUT = ("lock", "checkpoints.db", "checkpoints.db-wal", "checkpoints.db-shm", "memory")
"""Not needed to read a run; the memory is an index that can be made from the ledger."""


@contextmanager
def demo_run() -> Iterator[RunFolder]:
    """A copy of the recorded run in a temporary folder, which ends with the context."""
    with tempfile.TemporaryDirectory(prefix="novum-demo-") as folder:
        resource = files("novum.app") / FILE
        with resource.open("rb") as packed, zipfile.ZipFile(packed) as archive:
            archive.extractall(folder)
        yield RunFolder.open(Path(folder) / NAME)


def pack_run(run: RunFolder, target: Path) -> int:
    """Pack a finished run as `demo.zip` wants it; returns the size of the file in bytes."""
    run.archive().pack()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(run.path.rglob("*")):
            inside = path.relative_to(run.path)
            if inside.parts[0] not in LEFT_OUT:  # empty folders too: git wants its own
                packed.write(path, str(Path(NAME) / inside))
    return target.stat().st_size
