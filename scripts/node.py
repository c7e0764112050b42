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
import lzma
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SUMS = "SHA256SUMS"
KINDS = ("packages", "cache")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
MIB = 1 << 20
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Pythons before 3.11.4 lack the filter."""


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
    sizes = [path.stat().st_size / MIB for path in found]
    print(f"{len(found)} pieces, {sum(sizes):.1f} MiB, the largest {max(sizes):.1f} MiB")


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
            shutil.rmtree(path) if path.is_dir() else path.unlink()


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


def expand(parts: Sequence[Path], target: Path) -> None:
    """The folder whose pieces these are."""
    target.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool, tempfile.TemporaryFile() as whole:
        for chunk in pool.map(lzma.decompress, (path.read_bytes() for path in parts)):
            whole.write(chunk)
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r|") as tar:
            tar.extractall(target, map(inside, tar), **SAFELY)


def inside(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """What `plain` let pass, by a name that leads nowhere else.

    Raises:
        CannotCarry: it is something else.
    """
    parts = PurePosixPath(entry.name)
    if parts.is_absolute() or ".." in parts.parts or not (entry.isfile() or entry.isdir()):
        raise CannotCarry(f"{entry.name!r} in the pieces was not packed by this program.")
    return entry


def unpack(folder: Path, into: Path, compiled: Sequence[str]) -> None:
    """Check all pieces, then unpack them; print the variables of a shell that works with them."""
    check(folder)
    for kind in KINDS:
        if parts := sorted(folder.glob(f"{kind}.*.xz")):
            expand(parts, into / kind)
    for name in compiled:
        compile_package(name)
    command = into / "bin" / "novum"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m novum "$@"\n')
    command.chmod(0o755)
    own = [str(path) for path in (ROOT / "src", into / "packages") if path.is_dir()]
    print(f"export PYTHONPATH={shlex.quote(':'.join(own))}${{PYTHONPATH:+:$PYTHONPATH}}")
    print(f"export PATH={shlex.quote(str(command.parent))}${{PATH:+:$PATH}}")
    if (cache := into / "cache").is_dir():
        print(f"export NOVUM_PATHS__CACHE={shlex.quote(str(cache))}")


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
