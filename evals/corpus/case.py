"""One case of the red team: a file with a header that says what it is, and the candidate's code.

    #: family: lying objects
    #: pack: language
    #: does: returns logits of a class whose comparisons always say yes
    #: caught by: rules
    import ...

Lines that begin with `#:` are the header; it is taken off before the candidate is frozen. A line
`#: file: NAME` further down begins another file of the candidate. Honest cases are of the family
`honest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from novum.errors import PackError

Check = Literal[
    "scope",
    "change",
    "rules",
    "probes",
    "harness",
    "physics",
    "guardrails",
    "statistics",
    "worthless",
    "none",
]
"""What stops a cheat. `harness`: the trial ended (killed, refused, nothing left in time).
`worthless`: it went through and the trick changed nothing that was measured. `none`: honest."""
HERE = Path(__file__).parent
MAIN_FILE = {"language": "train.py", "speedrun": "train.py", "kernel": "kernel.py"}


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate and what is claimed of it."""

    name: str
    family: str
    pack: str
    does: str
    caught_by: tuple[Check, ...]
    """The checks that may stop it, where chance decides which one comes first."""
    files: dict[str, bytes]

    @property
    def is_honest(self) -> bool:
        return self.family == "honest"


def load_case(path: Path) -> Case:
    """Read a case from its file.

    Raises:
        PackError: the header lacks a line or names an unknown pack or check.
    """
    header: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    current = ""
    for line in path.read_text().splitlines():
        if line.startswith("#:"):
            key, _, value = line[2:].partition(":")
            if key.strip() == "file":
                current = value.strip()
                files[current] = []
            else:
                header[key.strip()] = " ".join((header.get(key.strip(), ""), value.strip())).strip()
            continue
        current = current or MAIN_FILE.get(header.get("pack", ""), "train.py")
        files.setdefault(current, []).append(line)
    missing = {"family", "pack", "does", "caught by"} - header.keys()
    checks = cast(tuple[Check, ...], tuple(header.get("caught by", "").split(" or ")))
    if missing or header["pack"] not in MAIN_FILE or not set(checks) <= set(get_args(Check)):
        raise PackError(
            f"{path}: the header is wrong (missing: {', '.join(sorted(missing)) or '-'})"
        )
    return Case(
        name=path.stem,
        family=header["family"],
        pack=header["pack"],
        does=header["does"],
        caught_by=checks,
        files={name: ("\n".join(lines) + "\n").encode() for name, lines in files.items()},
    )


def load_corpus(family: str | None = None) -> list[Case]:
    """All cases, or those of one family, in order of family and name."""
    paths = sorted((*HERE.glob("cheats/*/*.py"), *HERE.glob("honest/*.py")))
    cases = [load_case(p) for p in paths]
    return [c for c in cases if family is None or c.family == family]
