"""The name of a candidate: the hash that git gives its tree, without a repository at hand."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1


def tree_hash(files: Mapping[str, bytes]) -> str:
    """The hash that git gives a tree of these files, all of mode 100644.

    Source: git's object format (Documentation/gitformat-pack, `git hash-object`).
    """
    below: dict[str, dict[str, bytes]] = {}
    entries: dict[bytes, tuple[bytes, bytes]] = {}
    for name, content in files.items():
        head, slash, rest = name.partition("/")
        if slash:
            below.setdefault(head, {})[rest] = content
        else:
            entries[name.encode()] = b"100644 " + name.encode(), _object(b"blob", content)
    for head, inner in below.items():  # git sorts a folder as if its name ended in a slash
        digest = bytes.fromhex(tree_hash(inner))
        entries[head.encode() + b"/"] = b"40000 " + head.encode(), digest
    body = b"".join(label + b"\0" + digest for _, (label, digest) in sorted(entries.items()))
    return _object(b"tree", body).hex()


def _object(kind: bytes, content: bytes) -> bytes:
    return sha1(kind + b" %d\0" % len(content) + content, usedforsecurity=False).digest()
