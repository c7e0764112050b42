"""The pack's playbook as the tools and the planner use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from novum.benchmarks import moves as playbook
from novum.errors import DoesNotApply


class PlaybookMoves:
    """Techniques and constants of a pack; a pack without a playbook has none of the former."""

    def __init__(self, folder: Path) -> None:
        """Read `folder/playbook`.

        Raises:
            PackError: a file of the playbook is malformed.
        """
        self.techniques = playbook.load_playbook(folder / "playbook")

    def apply(self, name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """All files after a technique was applied.

        Raises:
            DoesNotApply: it does not fit these files, or there is none of that name.
        """
        if name not in self.techniques:
            known = ", ".join(self.techniques) or "none"
            raise DoesNotApply(f"the playbook has no technique {name!r}; it has {known}")
        return playbook.apply_move(self.techniques[name], files)

    def set_constant(self, name: str, value: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """All files after a constant was given another value.

        Raises:
            DoesNotApply: no such constant, or the value is not a number.
        """
        try:
            number: int | float = int(value)
        except ValueError:
            try:
                number = float(value)
            except ValueError:
                raise DoesNotApply(f"{value!r} is not a number") from None
        found = [c for c in playbook.constants(files) if c.name == name]
        if len(found) != 1:
            where = ", ".join(c.file for c in found) or "no file"
            raise DoesNotApply(f"the constant {name} is in {where}; it must be in one")
        text = files[found[0].file].decode()
        changed = playbook.set_constant(text, name, number).encode()
        return {**files, found[0].file: changed}
