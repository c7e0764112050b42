"""Corpora that come as archives: the sources of Linux as Debian ships them, and parquet shards.

They are large, so what they were prepared from is named by the digest of the archive and not by
reading all documents again.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from novum.errors import DataMissing

LINUX_ARCHIVE = Path("/usr/src/linux-source-6.1.tar.xz")
LINUX_SUFFIXES = (
    *(".c", ".h", ".S", ".dts", ".dtsi"),
    *(".rst", ".txt", ".yaml", ".sh", ".py", ".pl"),
)
MAX_SOURCE_BYTES = 200_000  # longer files are register tables that were generated


def linux_sources(argument: str) -> Iterator[bytes]:
    """Text files of the Linux source archive, in the order of the archive.

    `linux` reads what the Debian package `linux-source-6.1` installs, `linux:PATH` another archive.

    Raises:
        DataMissing: the archive is not there or damaged, or nothing here unpacks it.
    """
    path = linux_archive(argument)
    with unpacked(path) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    wanted = member.isfile() and member.name.endswith(LINUX_SUFFIXES)
                    if wanted and member.size <= MAX_SOURCE_BYTES:
                        content = archive.extractfile(member)
                        assert content is not None
                        yield content.read()
            # an archive that was cut between two files ends like a whole one: xz knows better
            while process.stdout.read(1 << 20):
                pass
        except tarfile.ReadError as error:
            raise damaged(path, process, str(error)) from error
        if process.wait() != 0:
            raise damaged(path, process, "it ends too early")


@contextmanager
def unpacked(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`xz` while it writes what is in a file; what it complains about can be read from `stderr`.

    Raises:
        DataMissing: there is no `xz`.
    """
    command = ["xz", "-dc", "-T0", str(path)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise DataMissing(
            "the corpus `linux` is unpacked by the program xz, and there is none.\n"
            "Install it (`apt-get install xz-utils`)."
        ) from error
    with process:
        try:
            yield process
        finally:
            process.kill()


def damaged(path: Path, process: subprocess.Popen[bytes], reason: str) -> DataMissing:
    """What to say of an archive that cannot be read to its end."""
    process.kill()
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace").strip()
    said = said.removeprefix(f"xz: {path}: ") or reason
    return DataMissing(
        f"{path} is no whole tar.xz: {said}\n"
        "Fetch it again (`apt-get install --reinstall linux-source-6.1`), or name a whole copy "
        "with `linux:PATH`."
    )


def linux_archive(argument: str) -> Path:
    """The archive that `linux` or `linux:PATH` names."""
    path = Path(argument).expanduser() if argument else LINUX_ARCHIVE
    if not path.is_file():
        raise DataMissing(
            f"the corpus `linux` reads {path}, and it is not there.\n"
            "Install it (`apt-get install linux-source-6.1`), or name a copy with `linux:PATH`."
        )
    return path


def parquet_texts(argument: str) -> Iterator[bytes]:
    """The column `text` of every parquet shard of a folder, as ClimbMix is distributed.

    Raises:
        DataMissing: no shards, a damaged one, or no pyarrow to read them.
    """
    shards = parquet_shards(argument)
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataMissing("parquet shards need pyarrow: `pip install 'novum[climbmix]'`") from error
    for shard in shards:
        try:
            with parquet.ParquetFile(shard) as file:
                if "text" not in file.schema_arrow.names:
                    names = ", ".join(file.schema_arrow.names) or "none"
                    raise DataMissing(f"{shard} has no column `text`; its columns: {names}")
                for batch in file.iter_batches(columns=["text"]):
                    yield from (text.encode() for text in batch.column(0).to_pylist() if text)
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataMissing(
                f"{shard} is no whole parquet file: {reason}\n"
                "Download this shard again, or take it out of the folder."
            ) from error


def parquet_shards(argument: str) -> list[Path]:
    """The shards that `climbmix:FOLDER` names, in order."""
    shards = sorted(Path(argument).expanduser().glob("*.parquet")) if argument else []
    if not shards:
        raise DataMissing(
            f"the corpus `climbmix:FOLDER` needs a folder with *.parquet shards, and {argument!r} "
            "has none.\nDownload some shards of karpathy/climbmix-400b-shuffle and name the folder."
        )
    return shards


def archive_digest(kind: str, argument: str) -> str | None:
    """Digest of what a corpus of this kind is made from; `None` for corpora that are not archives.

    Raises:
        DataMissing: the archive is not there.
    """
    if kind == "linux":
        paths = [linux_archive(argument)]
    elif kind == "climbmix":
        paths = parquet_shards(argument)
    else:
        return None
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
