"""Parts of the harness on their own: artifacts, tree hashes, shared memory, claims on paths."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from novum.benchmarks.harness import hardware_class, tree_hash, wire
from novum.benchmarks.harness.artifact import MAX_DEPTH, MAX_FILES, collect
from novum.benchmarks.harness.compile_cache import VARIABLE, cache_variables
from novum.benchmarks.harness.score import clean
from novum.benchmarks.harness.scratch import lay_out, remove, scratch_folder
from novum.benchmarks.harness.shared_memory import Buffer, DataStore, seal_array, seal_file
from novum.benchmarks.harness.stages import judge_run
from novum.benchmarks.pack import Profile
from novum.benchmarks.protocol import CandidateFailed, RunOutcome, RunPlan
from novum.errors import UsageError
from novum.lab.records import TrialStatus
from novum.sandboxes.protocol import Exit, ExitCause, Limits


def test_links_devices_and_what_is_linked_from_elsewhere_are_removed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("host")
    os.chmod(tmp_path / "outside", 0o600)
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "kept").write_text("kept")
    (out / "link").symlink_to(tmp_path / "outside")
    (out / "folder-link").symlink_to(tmp_path)
    os.link(tmp_path / "outside", out / "hard")
    os.mkfifo(out / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        folder = os.open(out, os.O_PATH)
        bound.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    kept = collect(out, 1 << 20)
    assert (kept.n_files, kept.n_bytes, kept.n_odd) == (1, 4, 5)
    assert sorted(p.name for p in out.iterdir()) == ["deep"]
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o600


def test_a_file_from_after_the_deadline_is_removed_whatever_time_it_claims(tmp_path: Path) -> None:
    early, late = tmp_path / "early", tmp_path / "late"
    early.write_text("in time")
    time.sleep(0.1)
    deadline = time.time() - 0.05
    late.write_text("too late")
    os.utime(late, (0, 0))
    kept = collect(tmp_path, 1 << 20, deadline)
    assert (kept.n_files, kept.n_late) == (1, 1)
    assert early.exists() and not late.exists()


def test_the_digest_names_paths_and_contents_and_nothing_else(tmp_path: Path) -> None:
    def digest(name: str, files: dict[str, str]) -> str:
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return collect(tmp_path / name, 1 << 20).digest

    same = digest("a", {"x": "1", "d/y": "2"})
    assert digest("b", {"d/y": "2", "x": "1"}) == same
    assert digest("c", {"x": "1", "d/z": "2"}) != same
    assert digest("d", {"x": "1", "d/y": "3"}) != same


def test_giants_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CandidateFailed, match="larger than"):
        collect(tmp_path, 1 << 20)


def test_too_many_and_too_deep_files_are_refused(tmp_path: Path) -> None:
    many, deep = tmp_path / "many", tmp_path / "deep"
    many.mkdir()
    for i in range(MAX_FILES + 1):
        (many / str(i)).touch()
    with pytest.raises(CandidateFailed, match="more than"):
        collect(many, 1 << 20)
    deep.joinpath(*["d"] * (MAX_DEPTH + 1)).mkdir(parents=True)
    with pytest.raises(CandidateFailed, match="deeper than"):
        collect(deep, 1 << 20)


def test_a_closed_folder_is_opened_and_a_setuid_bit_is_dropped(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "file").write_text("x")
    os.chmod(closed / "file", 0o4000)
    os.chmod(closed, 0)
    assert collect(tmp_path, 1 << 20).n_files == 1
    assert (closed / "file").stat().st_mode & 0o7777 == 0o644


def test_a_tree_hash_is_gits(tmp_path: Path) -> None:
    pygit2 = pytest.importorskip("pygit2", reason="the archive needs it, the harness does not")
    files = {
        "train.py": b"print(1)\n",
        "model.py": b"",
        "model/layers.py": b"x = 1\n",
        "model/deep/er.py": b"\0\xff",
        "model-2/a": b"a",
        "é.txt": b"accent",
    }
    repository = pygit2.init_repository(str(tmp_path), bare=True)
    index = pygit2.Index()
    for path, content in files.items():
        blob = repository.create_blob(content)
        index.add(pygit2.IndexEntry(path, blob, pygit2.enums.FileMode.BLOB))
    assert tree_hash(files) == str(index.write_tree(repository))


@pytest.mark.parametrize("name", ["../out", "/abs", "a/../../b", "", "nul\0"])
def test_a_candidates_file_cannot_be_laid_out_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises((UsageError, ValueError)):
        lay_out(tmp_path / "candidate", {name: b"x"})
    assert not (tmp_path / "out").exists()


def test_scratch_is_removed_also_when_nobody_may_enter_it(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").touch()
        (folder / "a" / "loop").symlink_to(tmp_path)
        os.chmod(folder / "a" / "b", 0)
        os.chmod(folder / "a", 0)
    assert list(tmp_path.iterdir()) == []


def test_removing_a_folder_never_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o750)
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    remove(tmp_path / "gone")
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o750


def test_a_sealed_array_can_be_read_and_not_changed() -> None:
    sealed = seal_array(np.arange(10, dtype="<i4")[::2])
    try:
        again = os.open(f"/proc/self/fd/{sealed.fd}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(again, 0)
        os.close(again)
        data = np.frombuffer(os.pread(sealed.fd, 20, 0), sealed.dtype).reshape(sealed.shape)
        assert data.tolist() == [0, 2, 4, 6, 8]
    finally:
        sealed.close()


def test_a_file_is_sealed_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    path, store = tmp_path / "a.npy", DataStore()
    np.save(path, np.arange(3))
    first, second = store.get(path), store.get(path)
    assert os.fstat(first.fd).st_ino == os.fstat(second.fd).st_ino
    np.save(path, np.arange(4))
    third = store.get(path)
    assert (first.shape, third.shape) == ((3,), (4,))
    assert len(os.pread(first.fd, 100, 0)) == 24  # an older trial keeps what it was given
    for sealed in (first, second, third):
        sealed.close()
    store.close()


def test_only_plain_numbers_are_handed_over(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain numbers"):
        seal_array(np.array([object()]))
    np.save(tmp_path / "columns.npy", np.zeros((2, 3), order="F"))
    with pytest.raises(ValueError, match="C order"):
        seal_file(tmp_path / "columns.npy")
    np.save(tmp_path / "short.npy", np.zeros(100))
    os.truncate(tmp_path / "short.npy", 200)
    with pytest.raises(ValueError, match="shorter"):
        seal_file(tmp_path / "short.npy")


def test_the_size_of_a_buffer_is_fixed() -> None:
    buffer = Buffer(100)
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.fd, 0)
    buffer.close()


def test_a_flood_empties_the_quota_and_time_fills_it() -> None:
    quota = wire.Quota(per_s=50.0, burst=3)
    for _ in range(3):
        quota.take()
    with pytest.raises(wire.ProtocolError, match="floods"):
        quota.take()
    time.sleep(0.1)
    quota.take()


def test_text_for_people_holds_no_control_characters() -> None:
    assert clean("a\x1b[31mb\r\x07\x00c\td\n\u202eé") == "a[31mbc\td\né"


def test_the_hardware_class_names_cores_and_processor() -> None:
    assert hardware_class(Profile(budget_s=1, cores=2)).startswith("2x ")


def test_compiled_kernels_are_shared_only_where_asked_for_and_never_between_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert cache_variables("process", "a" * 40) == {}
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cache_variables("bubblewrap", "a" * 40) == {}
    one, same, other = (cache_variables("process", tree * 40) for tree in "aab")
    assert one == same and set(one) == {"TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"}
    assert not set(one.values()) & set(other.values())
    assert all(tmp_path / ("a" * 40) in Path(folder).parents for folder in one.values())


# --- what is said of a run that failed ---

TORCH_SAYS = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB."


PLAN = RunPlan(
    argv=("python",),
    info={},
    arrays={},
    clock="wall",
    budget_s=9,
    allowance_s=9,
    limits=Limits(wall_s=9, memory_bytes=4 << 20, pids=9, file_bytes=9, output_bytes=9),
)


def ended_by(cause: ExitCause, code: int | None, stderr: str, *, started: bool) -> RunOutcome:
    ended = Exit(cause, code, 5.0, 5.0, 3 << 20, "", stderr, False, 0)
    return RunOutcome(ended, started, 4.0, 4.0, False, 1.0, Path("output"), "digest", 10, 1, {}, ())


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize(
    ("cause", "stderr", "said"),
    [
        (ExitCause.EXITED, TORCH_SAYS, "GPU memory, 79.2 GiB at its peak: .*need less.*20.00 GiB"),
        (ExitCause.OUT_OF_MEMORY, "", "3 MiB at its peak of 4 .*need less"),
    ],
)
def test_memory_that_ran_out_is_named_with_its_peak_and_a_way_out_whenever_it_was(
    started: bool, cause: ExitCause, stderr: str, said: str
) -> None:
    with pytest.raises(CandidateFailed, match=said) as caught:
        judge_run(ended_by(cause, 1, stderr, started=started), PLAN, 79.2 * 2**30)
    assert caught.value.status is TrialStatus.CRASHED


def test_who_catches_a_full_gpu_and_ends_well_has_not_failed() -> None:
    judge_run(ended_by(ExitCause.EXITED, 0, TORCH_SAYS, started=True), PLAN)
