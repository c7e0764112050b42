"""The archive: every candidate of a run as a commit of a bare git repository.

A candidate is named by its tree hash, so the same files are the same candidate whoever wrote them;
its commit's parents are the commits of the candidates it came from. Nothing is ever checked out:
there is no work tree, no hook, no filter, and the user's own git settings are not read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import FileMode, Option, SortMode

from novum.errors import DiskFull, RecordError, UnknownName, UsageError
from novum.lab.loose import LooseWriter
from novum.lab.packing import LooseFiles
from novum.lab.paths import check_names
from novum.lab.trees import Objects, collect, commit, tree_hash

AUTHOR = ("Novum", "novum@localhost")
CANDIDATES = "refs/candidates/"
CHAMPION = "refs/heads/champion"
DIFF_CHARS = 60_000
MAX_READ = 16
"""Candidates whose files are kept at hand: each is read for every one of its trials."""


@dataclass(frozen=True, slots=True)
class DiffStat:
    """How much two candidates differ."""

    files: int
    insertions: int
    deletions: int

    @property
    def changed_lines(self) -> int:
        """Lines added and removed."""
        return self.insertions + self.deletions


@dataclass(frozen=True, slots=True)
class Conflict:
    """One file that two candidates changed in the same place; `None` where a side has no file."""

    path: str
    base: bytes | None
    ours: bytes | None
    theirs: bytes | None


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a three-way merge gave; `files` lacks those in conflict."""

    files: Mapping[str, bytes]
    conflicts: tuple[Conflict, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is in conflict."""
        return not self.conflicts


class Archive:
    """Candidates of a run; safe from several threads of one process."""

    def __init__(self, repository: pygit2.Repository, path: Path, *, read_only: bool) -> None:
        self._repo = repository
        self._lock = threading.RLock()
        self.path = path
        self.read_only = read_only
        self._loose = LooseFiles(repository, path, CANDIDATES)
        self._writer = LooseWriter(path)
        self._read: dict[str, dict[str, bytes]] = {}

    @classmethod
    def create(cls, path: Path) -> Archive:
        """Make an empty archive.

        Raises:
            UsageError: something is there already.
        """
        if path.exists():
            raise UsageError(f"{path} exists already; open it, or choose another folder.")
        _isolate()
        repo = pygit2.init_repository(str(path), bare=True, initial_head="champion")
        return cls(repo, path, read_only=False)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Archive:
        """Open an archive that exists.

        Raises:
            RecordError: there is none.
        """
        _isolate()
        try:
            repo = pygit2.Repository(str(path), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
        except (pygit2.GitError, KeyError) as error:
            raise RecordError(f"there is no archive at {path}: {error}") from error
        return cls(repo, path, read_only=read_only)

    # --- writing ---

    def drop_stale_locks(self) -> None:
        """Remove the lock files of a writer that was killed; only for the one who holds the run."""
        for lock in self.path.rglob("*.lock"):
            lock.unlink(missing_ok=True)

    def put(
        self,
        files: Mapping[str, bytes],
        parents: Sequence[str],
        message: str,
        trailers: Mapping[str, str],
        author_s: float,
    ) -> tuple[str, str]:
        """Freeze files as a candidate; returns its tree hash and its commit.

        The same arguments give the same hashes on any machine. Files that are a candidate already
        return that candidate's commit, whatever the other arguments say.

        Args:
            parents: commits of the candidates it came from.
            trailers: lines such as `Proposal: p12` under the message.

        Raises:
            ToolError: a file name is not allowed.
        """
        self._check_writable()
        with self._lock, _writes(self.path):
            check_names(files)
            objects: Objects = {}
            tree = collect(files, objects)
            name = CANDIDATES + tree
            if (known := self._repo.references.get(name)) is not None:
                return tree, str(known.target)
            who = f"{AUTHOR[0]} <{AUTHOR[1]}> {int(author_s)} +0000"
            of = tuple(str(self._commit(parent).id) for parent in dict.fromkeys(parents))
            made = commit(tree, of, who, _message(message, trailers), objects)
            n_new = self._writer.write(objects)
            self._writer.point(name, made)
            self._loose.count(n_new)
            return tree, made

    def tree_of(self, files: Mapping[str, bytes]) -> str:
        """The tree hash that these files have or would have; writes no candidate."""
        check_names(files)
        return tree_hash(files)

    def set_ref(self, name: str, commit: str) -> None:
        """Point a ref, such as `CHAMPION`, at a candidate's commit."""
        self._check_writable()
        with self._lock, _writes(self.path):
            self._repo.references.create(name, self._commit(commit).id, force=True)

    def pack(self) -> int:
        """Move loose objects and refs into packs now; returns how many objects were moved."""
        self._check_writable()
        with self._lock, _writes(self.path):
            return self._loose.pack()

    # --- reading ---

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Commits by the full names of the refs under a prefix."""
        with self._lock:
            found = self._repo.references.iterator()
            return {r.name: str(r.target) for r in found if r.name.startswith(prefix)}

    def commit_of(self, name: str) -> str:
        """The commit of a candidate, given its tree hash, a commit or a ref."""
        with self._lock:
            return str(self._commit(name).id)

    def files(self, name: str) -> dict[str, bytes]:
        """Every file of a candidate by its relative path; `name` as in `commit_of`."""
        with self._lock:
            found = self._read.get(name)
            if found is None:
                found = {}
                self._collect(self._tree(name), "", found)
                if not name.startswith("refs/"):  # a hash names the same files for ever
                    self._read[name] = found
                    if len(self._read) > MAX_READ:
                        del self._read[next(iter(self._read))]
            return dict(found)

    def message(self, name: str) -> str:
        """The message of a candidate's commit, trailers included."""
        with self._lock:
            return str(self._commit(name).message)

    def diff(self, a: str, b: str, *, max_chars: int = DIFF_CHARS) -> str:
        """Unified diff from candidate `a` to `b`; what is over `max_chars` is cut, and said so."""
        with self._lock:
            raw = b"".join(patch.data for patch in self._diff(a, b) if patch is not None)
        size = len(raw)
        text = raw[: 4 * max_chars].decode(errors="replace")
        if len(text) <= max_chars:
            return text
        shown = text[:max_chars].rpartition("\n")[0]
        return f"{shown}\n[cut: {len(shown)} of about {size} characters shown]\n"

    def stat(self, a: str, b: str) -> DiffStat:
        """How much candidates `a` and `b` differ."""
        with self._lock:
            stats = self._diff(a, b).stats
            return DiffStat(stats.files_changed, stats.insertions, stats.deletions)

    def lineage(self, name: str) -> tuple[str, ...]:
        """Tree hashes of a candidate and all its ancestors, children before their parents."""
        with self._lock:
            start = self._commit(name).id
            return tuple(
                str(c.tree_id) for c in self._repo.walk(start, SortMode.TOPOLOGICAL | SortMode.TIME)
            )

    def merge_base(self, a: str, b: str) -> str | None:
        """Tree hash of the nearest common ancestor; `None` when there is none."""
        with self._lock:
            base = self._repo.merge_base(self._commit(a).id, self._commit(b).id)
            return None if base is None else str(self._commit(str(base)).tree_id)

    def merge(self, ours: str, theirs: str) -> MergeResult:
        """Three-way merge of two candidates on their merge base; writes no candidate."""
        with self._lock:
            index = self._repo.merge_commits(self._commit(ours).id, self._commit(theirs).id)
            conflicts = tuple(self._conflict(entries) for entries in index.conflicts or ())
            broken = {conflict.path for conflict in conflicts}
            files = {
                entry.path: self._blob(entry.id) for entry in index if entry.path not in broken
            }
        return MergeResult(files, conflicts)

    def carry(self, files: Mapping[str, bytes], before: str, after: str) -> MergeResult:
        """The change from one candidate to another, merged into files that need be neither.

        Writes the files as objects, but no candidate.
        """
        self._check_writable()
        with self._lock, _writes(self.path):
            ours = self._write_tree(files)
            index = self._repo.merge_trees(self._tree(before), ours, self._tree(after))
            conflicts = tuple(self._conflict(entries) for entries in index.conflicts or ())
            broken = {conflict.path for conflict in conflicts}
            merged = {
                entry.path: self._blob(entry.id) for entry in index if entry.path not in broken
            }
            self._loose.count(2)
        return MergeResult(merged, conflicts)

    # --- inside ---

    def _check_writable(self) -> None:
        if self.read_only:
            raise UsageError(f"{self.path} is open for reading only.")

    def _write_tree(self, files: Mapping[str, bytes]) -> pygit2.Oid:
        check_names(files)
        index = pygit2.Index()
        for path, content in files.items():
            blob = self._repo.create_blob(content)
            index.add(pygit2.IndexEntry(path, blob, FileMode.BLOB))
        return index.write_tree(self._repo)

    def _commit(self, name: str) -> pygit2.Commit:
        found = self._object(name)
        if isinstance(found, pygit2.Tree):
            ref = self._repo.references.get(CANDIDATES + str(found.id))
            if ref is None:
                raise UnknownName(f"tree {name} is no candidate of {self.path}.")
            found = self._repo[ref.target]
        if not isinstance(found, pygit2.Commit):
            raise UnknownName(f"{name} is neither a candidate nor a commit of {self.path}.")
        return found

    def _tree(self, name: str) -> pygit2.Tree:
        found = self._object(name)
        return found if isinstance(found, pygit2.Tree) else self._commit(name).tree

    def _object(self, name: str) -> Any:
        try:
            if name.startswith("refs/"):
                return self._repo[self._repo.references[name].target]
            return self._repo[name]
        except (KeyError, ValueError) as error:
            raise UnknownName(f"{name!r} is not in the archive {self.path}.") from error

    def _collect(self, tree: pygit2.Tree, prefix: str, found: dict[str, bytes]) -> None:
        for entry in tree:
            child = self._repo[entry.id]
            if isinstance(child, pygit2.Tree):
                self._collect(child, f"{prefix}{entry.name}/", found)
            elif isinstance(child, pygit2.Blob):
                found[f"{prefix}{entry.name}"] = child.data

    def _blob(self, oid: pygit2.Oid) -> bytes:
        blob = self._repo[oid]
        if not isinstance(blob, pygit2.Blob):
            raise RecordError(f"{oid} in {self.path} is no file.")
        return blob.data

    def _diff(self, a: str, b: str) -> pygit2.Diff:
        return self._tree(a).diff_to_tree(self._tree(b))

    def _conflict(self, entries: tuple[Any, Any, Any]) -> Conflict:
        path = next(entry.path for entry in entries if entry is not None)
        base, ours, theirs = (None if e is None else self._blob(e.id) for e in entries)
        return Conflict(path, base, ours, theirs)


def _message(message: str, trailers: Mapping[str, str]) -> str:
    lines = [f"{name}: {' '.join(value.split())}" for name, value in trailers.items()]
    return message.strip() + ("\n\n" + "\n".join(lines) if lines else "") + "\n"


def _isolate() -> None:
    """Keep libgit2 from the user's settings; a run folder of another user may be read."""
    for level in (1, 2, 3, 4):  # system, XDG, global, ProgramData
        try:
            pygit2.option(Option.SET_SEARCH_PATH, level, "")
        except (ValueError, pygit2.GitError):
            continue  # a level that this platform does not have
    pygit2.option(Option.SET_OWNER_VALIDATION, 0)


class _writes:
    """Names a full disk; everything else libgit2 raises passes through."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (pygit2.GitError, OSError)) and "No space left" in str(error):
            raise DiskFull(
                f"no room is left in {self.path}. Free some space and resume the run."
            ) from error
