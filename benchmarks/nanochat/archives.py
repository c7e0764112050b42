"""Corpora that come as archives: the sources of Linux as Debian ships them, and parquet shards.

They are large, so what they were prepared from is named by the digest of the archive and not by
reading all documents again.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Iterator
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
        DataMissing: the archive is not there.
    """
    process = subprocess.Popen(
        ["xz", "-dc", "-T0", str(linux_archive(argument))], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                wanted = member.isfile() and member.name.endswith(LINUX_SUFFIXES)
                if wanted and member.size <= MAX_SOURCE_BYTES:
                    content = archive.extractfile(member)
                    assert content is not None
                    yield content.read()
    except tarfile.ReadError as error:
        raise DataMissing(f"{linux_archive(argument)} is not a whole tar.xz: {error}") from error
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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
        DataMissing: no shards, or no pyarrow to read them.
    """
    shards = parquet_shards(argument)
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataMissing("parquet shards need pyarrow: `pip install pyarrow`") from error
    for shard in shards:
        for batch in parquet.ParquetFile(shard).iter_batches(columns=["text"]):
            yield from (text.encode() for text in batch.column(0).to_pylist() if text)


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
