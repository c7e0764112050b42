"""Git's objects of a candidate, and with them its name: no repository is needed to compute them.

Source: git's object format (Documentation/gitformat-pack, `git hash-object`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1

Objects = dict[str, bytes]
"""Objects by their hash, each with git's header before its content."""


def tree_hash(files: Mapping[str, bytes]) -> str:
    """The hash that git gives a tree of these files, all of mode 100644."""
    return collect(files, {})


def collect(files: Mapping[str, bytes], found: Objects) -> str:
    """Put the trees and blobs of files into `found`; returns the hash of the uppermost tree."""
    below: dict[str, dict[str, bytes]] = {}
    entries: dict[bytes, tuple[bytes, str]] = {}
    for name, content in files.items():
        head, slash, rest = name.partition("/")
        if slash:
            below.setdefault(head, {})[rest] = content
        else:
            entries[name.encode()] = b"100644 " + name.encode(), note(b"blob", content, found)
    for head, inner in below.items():  # git sorts a folder as if its name ended in a slash
        entries[head.encode() + b"/"] = b"40000 " + head.encode(), collect(inner, found)
    body = b"".join(
        label + b"\0" + bytes.fromhex(digest) for _, (label, digest) in sorted(entries.items())
    )
    return note(b"tree", body, found)


def note(kind: bytes, content: bytes, found: Objects) -> str:
    """Put one object into `found`; returns its hash."""
    whole = kind + b" %d\0" % len(content) + content
    digest = sha1(whole, usedforsecurity=False).hexdigest()
    found[digest] = whole
    return digest


def commit(tree: str, parents: tuple[str, ...], who: str, message: str, found: Objects) -> str:
    """Put a commit into `found`; `who` is author and committer with time and zone."""
    lines = [f"tree {tree}", *(f"parent {p}" for p in parents), f"author {who}", f"committer {who}"]
    return note(b"commit", "\n".join([*lines, "", message]).encode(), found)
