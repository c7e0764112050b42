"""Take Novum to a machine without a network: its packages and prepared data as files to carry.

    python scripts/node.py pack FOLDER --python 3.12 --cache ~/.cache/novum
    python scripts/node.py unpack FOLDER INTO        # there, beside a copy of this checkout

`pack` writes pieces of a size that any way of carrying takes, and `SHA256SUMS`. `unpack` wants all
of them whole before it writes anything, and prints what a shell has to export. It needs nothing but
Python 3.11, and the node needs PyTorch of its own.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import importlib.util
import io
import lzma
import shlex
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUMS = "SHA256SUMS"
KINDS = ("packages", "cache")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
MIB = 1 << 20


class CannotCarry(Exception):
    """Something is missing or damaged; the message says what, and what to do."""


def pack(folder: Path, said: argparse.Namespace) -> None:
    """Write the pieces into a folder, in place of those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in pieces(folder):
        old.unlink()
    with tempfile.TemporaryDirectory() as aside:
        sources = {"packages": Path(aside)} if not said.no_packages else {}
        if sources:
            fetch(Path(aside), said.python, said.extra, said.leave_out)
        if said.cache is not None:
            sources["cache"] = said.cache.expanduser()
        if not sources:
            raise CannotCarry("nothing to pack: name a --cache, or leave --no-packages out.")
        for kind, source in sources.items():
            if not source.is_dir():
                raise CannotCarry(f"{source} is no folder; `novum packs prepare` makes a cache.")
            compress(folder, kind, source, said.piece_mib * MIB)
    found = pieces(folder)
    sums = [f"{digest(path.read_bytes())}  {path.name}\n" for path in found]
    (folder / SUMS).write_text("".join(sums))
    total = sum(path.stat().st_size for path in found)
    largest = max(path.stat().st_size for path in found)
    print(f"{len(found)} pieces, {total / MIB:.1f} MiB, the largest {largest / MIB:.1f} MiB")


def fetch(target: Path, python: str, extras: Sequence[str], leave_out: Sequence[str]) -> None:
    """Install what Novum needs, PyTorch excepted, for another Python into a folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    foreign = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    foreign += [f"--platform={name}_x86_64" for name in PLATFORMS]
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command += ["--no-compile", "-c", str(ROOT / "constraints.txt"), "--target", str(target)]
    if subprocess.run([*command, *foreign, *wanted]).returncode:
        raise CannotCarry("pip did not get the packages; what it said stands above.")
    for name in leave_out:
        gone = [path for path in target.iterdir() if is_of(path.name, name)]
        if not gone:
            raise CannotCarry(f"--leave-out {name}: nothing of that name was installed.")
        for path in gone:
            subprocess.run(["rm", "-rf", str(path)], check=True)


def is_of(entry: str, package: str) -> bool:
    """Whether an entry of a folder of packages belongs to the one of this name."""
    stem = entry.lower().split("-")[0].removesuffix(".libs").removesuffix(".py")
    return stem == package.lower().replace("-", "_")


def compress(folder: Path, kind: str, source: Path, piece_bytes: int) -> None:
    """A folder as a tar, cut into pieces that are compressed each by itself, side by side."""
    with ProcessPoolExecutor() as pool, tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w|") as tar:
            tar.add(source, arcname=".", filter=plain)
        whole.seek(0)
        chunks = iter(lambda: whole.read(piece_bytes), b"")
        for i, small in enumerate(pool.map(lzma.compress, chunks)):
            (folder / f"{kind}.{i:03d}.xz").write_bytes(small)


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Files and folders of nobody in particular; compiled and half-made things stay behind."""
    is_aside = {"__pycache__"} & set(Path(entry.name).parts) or "/.preparing-" in f"/{entry.name}"
    if is_aside or not (entry.isfile() or entry.isdir()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def unpack(folder: Path, into: Path, compiled: Sequence[str]) -> None:
    """Check all pieces, then unpack them; print the variables of a shell that works with them."""
    check(folder)
    exports = {"PYTHONPATH": [str(ROOT / "src")], "NOVUM_PATHS__CACHE": [], "PATH": []}
    for kind in KINDS:
        parts = [path for path in pieces(folder) if path.name.startswith(f"{kind}.")]
        if parts:
            target = into / kind
            target.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=lzma.open(Chained(parts)), mode="r|") as tar:
                tar.extractall(target, filter="data")
            name = {"packages": "PYTHONPATH", "cache": "NOVUM_PATHS__CACHE"}[kind]
            exports[name].append(str(target))
    for name in compiled:
        compile_package(name)
    command = into / "bin" / "novum"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m novum "$@"\n')
    command.chmod(0o755)
    exports["PATH"] = [str(command.parent)]
    for name, values in exports.items():
        rest = f"${{{name}:+:${name}}}" if name != "NOVUM_PATHS__CACHE" else ""
        if values:
            print(f"export {name}={shlex.quote(':'.join(values))}{rest}")


def compile_package(name: str) -> None:
    """Compile an installed package to bytecode, where an image came without: then it is imported in
    a fraction of the time, in every trial."""
    spec = importlib.util.find_spec(name)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        compileall.compile_dir(place, quiet=2, workers=0)


def check(folder: Path) -> None:
    """Raise `CannotCarry` unless every piece is there as it was packed."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except OSError as error:
        raise CannotCarry(f"{folder} holds no {SUMS}: carry the whole folder.") from error
    for line in lines:
        known, _, name = line.partition("  ")
        path = folder / Path(name).name
        if not path.is_file():
            raise CannotCarry(f"{path} is missing: carry it again.")
        if digest(path.read_bytes()) != known:
            raise CannotCarry(f"{path} is damaged: carry it again.")


def pieces(folder: Path) -> list[Path]:
    """The pieces of a folder in their order."""
    return sorted(path for kind in KINDS for path in folder.glob(f"{kind}.*.xz"))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Chained(io.RawIOBase):
    """Files one after another, read as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._chunks = self._read(paths)
        self._left = b""

    @staticmethod
    def _read(paths: Sequence[Path]) -> Iterator[bytes]:
        for path in paths:
            with path.open("rb") as file:
                yield from iter(lambda: file.read(MIB), b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def,override]
        if not self._left:
            self._left = next(self._chunks, b"")
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write the pieces")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", default=".".join(map(str, sys.version_info[:2])),
                         help="Python of the node (default: this one)")  # fmt: skip
    packing.add_argument("--cache", type=Path, help="folder of prepared data to take along")
    packing.add_argument(
        "--extra", action="append", default=[], help="extra of pyproject.toml: gpu"
    )
    packing.add_argument("--leave-out", action="append", default=[], metavar="PACKAGE",
                         help="package that the node has already: numpy")  # fmt: skip
    packing.add_argument("--no-packages", action="store_true", help="data only")
    packing.add_argument("--piece-mib", type=int, default=64, help="size before compression")
    opening = commands.add_parser("unpack", help="unpack them, and print what to export")
    opening.add_argument("folder", type=Path)
    opening.add_argument("into", type=Path)
    opening.add_argument("--compile", action="append", default=[], metavar="PACKAGE",
                         help="compile an installed package to bytecode: torch")  # fmt: skip
    said = parser.parse_args(arguments)
    try:
        if said.command == "pack":
            pack(said.folder, said)
        else:
            unpack(said.folder, said.into.resolve(), said.compile)
    except (CannotCarry, OSError, lzma.LZMAError, tarfile.TarError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
