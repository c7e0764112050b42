"""The pack that `novum packs new` writes: small, whole, and graded from the first minute."""

from __future__ import annotations

import re
from pathlib import Path

from novum.errors import UsageError

SUFFIX = ".jinja"


def write_pack(name: str, parent: Path) -> Path:
    """Write a pack that runs into `parent/name`; returns its folder.

    Raises:
        UsageError: the name cannot be one, or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UsageError(f"{name!r} cannot name a pack: a letter, then letters, digits, `-`, `_`.")
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} exists already; nothing was written.")
    here = Path(__file__).parent
    for source in sorted(here.glob("*" + SUFFIX)):
        target = folder / source.name.removesuffix(SUFFIX).replace("--", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text().replace("{{ name }}", name))
    return folder
