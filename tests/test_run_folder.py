"""A run's folder is held by one process, and proves what it was started with."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novum.errors import RecordError, RunBusy, UnknownName, UsageError
from novum.lab.blobs import Blobs
from novum.lab.run import RunFolder, find_run, list_runs
from novum.lab.toml import dumps

HOLD = """
import sys, time
from pathlib import Path
from novum.lab.run import RunFolder
with RunFolder.open(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def create(runs: Path, name: str = "demo") -> RunFolder:
    settings = {"threads": 2, "budget": {"experiments": 10, "target": None}}
    return RunFolder.create(runs, name, benchmark="nanochat", profile="cpu", settings=settings)


def test_a_new_run_commits_to_its_nonce_and_keeps_it_private(tmp_path: Path) -> None:
    run = create(tmp_path)
    assert stat.S_IMODE((run.path / "nonce").stat().st_mode) == 0o600
    info = tomllib.loads((run.path / "run.toml").read_text())
    assert info["seed_commitment"] == sha256(run.nonce.encode()).hexdigest()
    assert run.nonce not in (run.path / "run.toml").read_text()
    assert info["settings"] == {"threads": 2, "budget": {"experiments": 10}}
    assert info["versions"]["python"].startswith("3.")
    assert info["hardware"]["cores"] >= 1


def test_another_nonce_than_the_committed_one_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path)
    (run.path / "nonce").write_text("f" * 64)
    with pytest.raises(RecordError, match="not the one that run.toml commits to"):
        _ = RunFolder.open(run.path).nonce


def test_records_open_from_the_folder(tmp_path: Path) -> None:
    run = create(tmp_path)
    with run.ledger() as ledger:
        ledger.append("note", {}, "n")
        run.note_anchor(ledger.anchor())
        ledger.verify(run.anchor())
    assert run.archive(read_only=True).refs() == {}


def test_a_run_is_not_made_over_another_and_a_star_takes_the_next_number(tmp_path: Path) -> None:
    create(tmp_path)
    with pytest.raises(UsageError, match="novum resume demo"):
        create(tmp_path)
    assert [create(tmp_path, "nanochat-*").name for _ in range(2)] == ["nanochat-1", "nanochat-2"]
    with pytest.raises(UsageError, match="cannot name a run"):
        create(tmp_path, "../up")


def test_a_folder_in_use_names_the_process_that_uses_it(tmp_path: Path) -> None:
    run = create(tmp_path)
    with run.lock():
        with pytest.raises(RunBusy, match=f"process {os.getpid()} on"), run.lock():
            pass
        holder = run.holder()
        assert holder is not None
        assert holder["pid"] == os.getpid()
    assert run.holder() is None


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    run = create(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(RunBusy, match=f"process {child.pid} "), run.lock():
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        with run.lock():
            pass


def test_runs_are_found_by_name_by_path_and_by_being_the_latest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="`novum run` starts one"):
        find_run(tmp_path)
    first, second = create(tmp_path, "first"), create(tmp_path, "second")
    assert find_run(tmp_path).name == second.name
    assert find_run(tmp_path, "first").path == first.path
    assert find_run(Path("elsewhere"), str(first.path)).path == first.path
    assert [run.name for run in list_runs(tmp_path)] == ["second", "first"]
    with pytest.raises(UnknownName, match="There is: second, first"):
        find_run(tmp_path, "third")


def test_blobs_are_kept_once_and_damage_is_found(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = blobs.put("log " * 1000)
    assert blobs.put(b"log " * 1000) == digest
    assert blobs.text(digest) == "log " * 1000
    assert (blobs.put(""), blobs.get("")) == ("", b"")
    (tmp_path / "model").write_bytes(b"\x00" * 10)
    kept = blobs.put_file(tmp_path / "model")
    assert blobs.get(kept) == b"\x00" * 10
    (tmp_path / kept[:2] / kept[2:]).write_bytes(b"\x01" * 10)
    with pytest.raises(RecordError, match="is not what was kept"):
        blobs.get(kept)
    with pytest.raises(UnknownName, match="no digest"):
        blobs.get("../../etc/passwd")


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
TABLES = st.recursive(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=4),
    lambda inner: st.dictionaries(st.text(max_size=5), VALUES | inner, max_size=3),
    max_leaves=8,
)


@given(TABLES)
def test_toml_that_is_written_reads_back_as_it_was(values: dict[str, object]) -> None:
    assert tomllib.loads(dumps(values)) == values
