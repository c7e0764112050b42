"""Names that files of a candidate may have.

A candidate's files are written to many machines: into sandboxes, workspaces, clones of the archive.
Nothing in a name may lead out of its folder, into git's own, or to another file than it reads.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from novum.errors import ToolError

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_FILES = 20_000


def check_names(files: Mapping[str, bytes]) -> None:
    """Raise unless all names are safe and no file is also a folder.

    Raises:
        ToolError: naming the first that is not, and why.
    """
    if len(files) > MAX_FILES:
        raise ToolError(f"a candidate may have {MAX_FILES} files, not {len(files)}")
    for path in files:
        reason = fault(path)
        if reason:
            raise ToolError(f"a candidate cannot have a file {path[:80]!r}: {reason}")
    for path in files:
        for folder in _folders(path):
            if folder in files:
                raise ToolError(f"{folder!r} cannot be a file and the folder of {path!r}")


def fault(path: str) -> str:
    """What is wrong with a relative path; empty when nothing is."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > MAX_PATH_BYTES:
        return "it is too long"
    if "\\" in path:
        return "folders are separated by `/`"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in path):
        return "it has invisible characters"
    return next((reason for part in path.split("/") if (reason := _part_fault(part))), "")


def _part_fault(part: str) -> str:
    if part == "":
        return "it must be relative, with one `/` between folders"
    if part in (".", ".."):
        return "it must not climb"
    if len(part.encode()) > MAX_NAME_BYTES:
        return "a part of it is too long"
    if part != part.strip() or part.endswith("."):
        return "a part of it starts or ends with a space or ends with a dot"
    if part.casefold() in (".git", "git~1"):
        return "git's own folder is out of bounds"
    return ""


def _folders(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts)))
