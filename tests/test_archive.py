"""The archive names candidates by content, merges them, and stays small."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pygit2
import pytest

from novum.errors import RecordError, ToolError, UnknownName, UsageError
from novum.lab.archive import CANDIDATES, CHAMPION, Archive

TEXT = b"".join(b"line %d\n" % i for i in range(40))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(tmp_path / "archive.git")


def changed(line: int, text: str, content: bytes = TEXT) -> dict[str, bytes]:
    lines = content.splitlines(keepends=True)
    lines[line] = text.encode() + b"\n"
    return {"train.py": b"".join(lines)}


def put(archive: Archive, files: dict[str, bytes], *parents: str) -> tuple[str, str]:
    return archive.put(files, parents, "Change a line", {"Proposal": "p1"}, 1_700_000_000.5)


def test_the_same_content_has_the_same_hashes_in_any_archive(tmp_path: Path) -> None:
    files = {"train.py": TEXT, "model/block.py": b"\x00\xff", "empty": b""}
    first = put(Archive.create(tmp_path / "a.git"), files)
    assert put(Archive.create(tmp_path / "b.git"), dict(reversed(files.items()))) == first
    git = [
        "git",
        "-C",
        str(tmp_path / "a.git"),
        "log",
        "-1",
        "--format=%T %H %at %an%n%B",
        first[1],
    ]
    said = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{first[0]} {first[1]} 1700000000 Novum\nChange a line\n\nProposal: p1")


def test_files_come_back_as_they_were(archive: Archive) -> None:
    files = {"a/b/c.py": b"\r\n\x00", "a/b.py": b"", "ünïcode.py": TEXT}
    tree, commit = put(archive, files)
    assert archive.files(tree) == archive.files(commit) == files
    assert archive.commit_of(tree) == commit
    assert archive.tree_of(files) == tree


def test_files_that_are_a_candidate_already_keep_their_commit(archive: Archive) -> None:
    _, root = put(archive, {"train.py": TEXT})
    first = put(archive, changed(1, "x"), root)
    again = archive.put(changed(1, "x"), [], "Another way to the same files", {}, 5.0)
    assert again == first


@pytest.mark.parametrize(
    "name",
    [
        *("", "/etc/passwd", "../up", "a/../../b", "./a", "a//b", "a/", "a\\b", "..", "."),
        *(".git/config", "sub/.GIT/hooks/pre-commit", "git~1/x", "a\nb", "a\x00b", "a\u202eb"),
        *(".g\u200cit/config", "\ud800", "x" * 256, "a /b", "a./b", "y/" * 600 + "z"),
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(archive: Archive, name: str) -> None:
    with pytest.raises(ToolError, match="cannot have a file"):
        put(archive, {name: b"x"})
    assert archive.refs() == {}


def test_a_file_cannot_also_be_a_folder(archive: Archive) -> None:
    with pytest.raises(ToolError, match="cannot be a file and the folder"):
        put(archive, {"a": b"", "a/b": b""})


def test_names_that_only_look_odd_are_allowed(archive: Archive) -> None:
    files = {".gitignore": b"", "..a": b"", "a b.py": b"", ".github/x.yml": b"", "gitignore": b""}
    tree, _ = put(archive, files)
    assert archive.files(tree) == files


def test_changes_to_different_places_merge_cleanly(archive: Archive) -> None:
    root, start = put(archive, {"train.py": TEXT})
    ours, _ = put(archive, changed(3, "ours") | {"new.py": b"1"}, start)
    theirs, _ = put(archive, changed(30, "theirs"), start)
    merged = archive.merge(ours, theirs)
    assert merged.is_clean
    assert merged.files == changed(30, "theirs", changed(3, "ours")["train.py"]) | {"new.py": b"1"}
    assert archive.merge_base(ours, theirs) == root


def test_changes_to_the_same_line_are_a_conflict_that_shows_both_sides(archive: Archive) -> None:
    _, start = put(archive, {"train.py": TEXT, "keep.py": b"1"})
    ours, _ = put(archive, changed(3, "ours") | {"keep.py": b"1"}, start)
    theirs, _ = put(archive, changed(3, "theirs") | {"keep.py": b"1"}, start)
    merged = archive.merge(ours, theirs)
    (conflict,) = merged.conflicts
    assert conflict.path == "train.py"
    assert conflict.base == TEXT
    assert conflict.ours == changed(3, "ours")["train.py"]
    assert conflict.theirs == changed(3, "theirs")["train.py"]
    assert merged.files == {"keep.py": b"1"}


def test_a_file_deleted_on_one_side_and_changed_on_the_other_is_a_conflict(
    archive: Archive,
) -> None:
    _, start = put(archive, {"train.py": TEXT, "keep.py": b"1"})
    ours, _ = put(archive, {"keep.py": b"1"}, start)
    theirs, _ = put(archive, changed(3, "theirs") | {"keep.py": b"1"}, start)
    (conflict,) = archive.merge(ours, theirs).conflicts
    assert (conflict.path, conflict.ours) == ("train.py", None)


def test_candidates_without_a_common_ancestor_merge_or_conflict_as_wholes(
    archive: Archive,
) -> None:
    a, _ = put(archive, {"a.py": b"1"})
    b, _ = put(archive, {"b.py": b"2"})
    assert archive.merge_base(a, b) is None
    assert archive.merge(a, b).files == {"a.py": b"1", "b.py": b"2"}


def test_a_lineage_lists_every_ancestor_once_children_first(archive: Archive) -> None:
    root, start = put(archive, {"train.py": TEXT})
    left, a = put(archive, changed(1, "a"), start)
    right, b = put(archive, changed(30, "b"), start)
    both, _ = put(archive, dict(archive.merge(left, right).files), a, b)
    lineage = archive.lineage(both)
    assert lineage[0] == both
    assert lineage[-1] == root
    assert set(lineage[1:3]) == {left, right}


def test_a_diff_is_bounded_and_says_so(archive: Archive) -> None:
    a, _ = put(archive, {"train.py": TEXT})
    b, _ = put(archive, {"train.py": TEXT.replace(b"line", b"LINE")})
    whole = archive.diff(a, b)
    assert "-line 7\n" in whole
    assert "+LINE 7\n" in whole
    cut = archive.diff(a, b, max_chars=200)
    assert len(cut) < 300
    assert cut.splitlines()[-1].startswith("[cut: ")
    assert archive.stat(a, b).changed_lines == 80
    assert archive.diff(a, a) == ""


def test_binary_files_in_a_diff_do_no_harm(archive: Archive) -> None:
    a, _ = put(archive, {"x": b"\x00\x01"})
    b, _ = put(archive, {"x": b"\x00\x02", "y": b"\xff\xfe latin"})
    assert "Binary files" in archive.diff(a, b)


def test_the_champion_is_a_branch(archive: Archive) -> None:
    _, commit = put(archive, {"train.py": TEXT})
    archive.set_ref(CHAMPION, commit)
    assert archive.refs("refs/heads/") == {CHAMPION: commit}
    assert archive.files(CHAMPION) == {"train.py": TEXT}


def test_packing_loses_nothing_and_an_open_reader_goes_on(archive: Archive) -> None:
    reader = Archive.open(archive.path, read_only=True)
    trees = [put(archive, changed(i, f"x{i}"))[0] for i in range(30)]
    assert reader.files(trees[0]) == changed(0, "x0")
    assert archive.pack() == 90
    trees += [put(archive, changed(i, f"y{i}"))[0] for i in range(5)]
    archive.pack()
    assert {name.removeprefix(CANDIDATES) for name in reader.refs(CANDIDATES)} == set(trees)
    assert reader.files(trees[-1]) == changed(4, "y4")
    assert Archive.open(archive.path).lineage(trees[3]) == (trees[3],)
    fsck = ["git", "-C", str(archive.path), "fsck", "--strict"]
    subprocess.run(fsck, check=True, capture_output=True)


def test_many_candidates_stay_small_without_being_asked(archive: Archive) -> None:
    """Loose, each would take four files of at least 4 kB."""
    text = b"".join(b"value_%d = %d  # a line of a program\n" % (i, i * 7919) for i in range(250))
    n = 1100
    _, parent = put(archive, {"train.py": text})
    for i in range(n):
        _, parent = put(archive, changed(i % 250, f"changed = {i}", text), parent)
    archive.pack()
    files = [f for f in archive.path.rglob("*") if f.is_file()]
    assert len(files) < 60
    assert sum(f.stat().st_size for f in files) / n < 2_500, "bytes a candidate"
    assert len(archive.refs(CANDIDATES)) > 1000


def test_the_users_git_settings_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[core]\n\tautocrlf = true\n[user]\n\tname = Mallory\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    archive = Archive.create(tmp_path / "archive.git")
    tree, commit = put(archive, {"a.txt": b"1\r\n2\r\n"})
    assert archive.files(tree) == {"a.txt": b"1\r\n2\r\n"}
    found = pygit2.Repository(str(archive.path))[commit]
    assert isinstance(found, pygit2.Commit)
    assert found.author.name == "Novum"
    assert not [f for f in archive.path.glob("hooks/*") if f.suffix != ".sample"]


def test_a_reader_cannot_write_and_what_is_not_there_is_named(archive: Archive) -> None:
    reader = Archive.open(archive.path, read_only=True)
    with pytest.raises(UsageError, match="reading only"):
        put(reader, {"a": b""})
    with pytest.raises(UnknownName, match="not in the archive"):
        reader.files("0" * 40)
    with pytest.raises(UnknownName, match="not in the archive"):
        reader.files("refs/heads/champion")
    with pytest.raises(RecordError, match="no archive"):
        Archive.open(archive.path.parent / "other.git")


def test_what_a_killed_writer_left_stops_nobody(tmp_path: Path) -> None:
    archive = Archive.create(tmp_path / "archive.git")
    files = {"a.py": b"x = 1\n"}
    tree, commit = put(Archive.create(tmp_path / "other.git"), files)
    lock = archive.path / "refs" / "candidates" / f"{tree}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    half = archive.path / "objects" / f"tmp_obj_{tree}"
    for left in (lock, half):
        left.write_bytes(b"hal")
        left.chmod(0o444)
    assert put(archive, files) == (tree, commit)
    assert not lock.exists() and not half.exists()
    champion = archive.path / "refs" / "heads" / "champion.lock"
    champion.touch()
    with pytest.raises(OSError, match="lock"):
        archive.set_ref(CHAMPION, commit)
    again = Archive.open(archive.path)
    again.drop_stale_locks()
    again.set_ref(CHAMPION, commit)
    assert again.commit_of(CHAMPION) == commit


@pytest.mark.parametrize(
    "files",
    [
        {"train.py": TEXT, "model/block.py": b"\x00\xff", "empty": b"", "model/deep/a.py": b"1"},
        {"a/b.py": b"1", "a.py": b"2", "a-b.py": b"3", "ünïcode.py": b"4"},
    ],
)
def test_objects_are_what_git_itself_would_write(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive = Archive.create(tmp_path / "archive.git")
    first, start = put(archive, {"start.py": b"0"})
    tree, commit = archive.put(files, [start, start], "Grüße", {"Brain": "x\ny"}, 1_700_000_000.5)
    repository = pygit2.Repository(str(archive.path))
    index = pygit2.Index()
    for name, content in files.items():
        blob = repository.create_blob(content)
        index.add(pygit2.IndexEntry(name, blob, pygit2.enums.FileMode.BLOB))
    assert str(index.write_tree(repository)) == tree
    who = pygit2.Signature("Novum", "novum@localhost", 1_700_000_000, 0)
    message, of = archive.message(commit), [pygit2.Oid(hex=start)]
    assert message == "Grüße\n\nBrain: x y\n"
    made = repository.create_commit(None, who, who, message, pygit2.Oid(hex=tree), of)
    assert str(made) == commit
    check = ["git", "--git-dir", str(archive.path), "fsck", "--strict", "--no-dangling"]
    subprocess.run(check, check=True, capture_output=True)
    archive.pack()
    assert archive.files(tree) == files and archive.files(first) == {"start.py": b"0"}
