"""Carrying packages and data to a machine without a network: what arrives is what was packed."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "node.py"


def node(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    (folder / "pack" / "data").mkdir(parents=True)
    (folder / "pack" / "data" / "train.bin").write_bytes(os.urandom(3 << 20))
    (folder / "pack" / "manifest.json").write_text("{}")
    (folder / "pack" / ".preparing-1").mkdir()
    (folder / "pack" / ".preparing-1" / "half").write_text("made")
    (folder / "pack" / "link").symlink_to("/etc/passwd")
    return folder


@pytest.fixture
def packed(cache: Path, tmp_path: Path) -> Path:
    done = node("pack", tmp_path / "out", "--no-packages", "--cache", cache, "--piece-mib", "1")
    assert done.returncode == 0, done.stderr
    return tmp_path / "out"


def test_what_arrives_is_what_was_packed(cache: Path, packed: Path, tmp_path: Path) -> None:
    assert len(list(packed.glob("cache.*.xz"))) == 4
    done = node("unpack", packed, tmp_path / "there")
    assert done.returncode == 0, done.stderr
    there = tmp_path / "there" / "cache" / "pack"
    for name in ("data/train.bin", "manifest.json"):
        assert (there / name).read_bytes() == (cache / "pack" / name).read_bytes()
    assert sorted(path.name for path in there.iterdir()) == ["data", "manifest.json"]


def test_a_shell_that_takes_what_it_prints_has_the_command(packed: Path, tmp_path: Path) -> None:
    line = f'eval "$({sys.executable} {SCRIPT} unpack {packed} {tmp_path / "there"})"'
    told = "novum --help && echo cache=$NOVUM_PATHS__CACHE"
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", f"{line} && {told}"], env=bare, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"An automated AI research lab" in done.stdout
    assert f"cache={tmp_path / 'there' / 'cache'}".encode() in done.stdout


@pytest.mark.parametrize("fault", ["missing", "damaged", "empty"])
def test_pieces_that_are_not_whole_leave_nothing_behind(
    packed: Path, tmp_path: Path, fault: str
) -> None:
    piece = packed / "cache.002.xz"
    if fault == "missing":
        piece.unlink()
    elif fault == "damaged":
        piece.write_bytes(piece.read_bytes()[:-1] + b"!")
    else:
        (packed / "SHA256SUMS").unlink()
    done = node("unpack", packed, tmp_path / "there")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "carry" in done.stderr and not (tmp_path / "there").exists()
    if fault != "empty":
        assert f"{piece} is {fault}" in done.stderr


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "data/../../out"])
def test_a_piece_that_leads_elsewhere_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    for old in packed.iterdir():
        old.unlink()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w|") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"wrong"))
    piece = lzma.compress(content.getvalue())
    (packed / "cache.000.xz").write_bytes(piece)
    (packed / "SHA256SUMS").write_text(f"{hashlib.sha256(piece).hexdigest()}  cache.000.xz\n")
    done = node("unpack", packed, tmp_path / "there")
    assert done.returncode == 1 and f"{name!r} in the pieces" in done.stderr
    assert not [path for path in tmp_path.rglob("out") if path.is_file()]


def test_a_cache_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = node("pack", tmp_path / "out", "--no-packages", "--cache", tmp_path / "nowhere")
    assert done.returncode == 1 and "packs prepare" in done.stderr
    assert "nothing to pack" in node("pack", tmp_path / "out", "--no-packages").stderr
