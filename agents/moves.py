"""The pack's playbook as the tools and the planner use it."""

from __future__ import annotations

from collections.abc import Mapping

from novum.benchmarks import moves as playbook
from novum.benchmarks.numbers import named_numbers, set_number
from novum.benchmarks.pack import Pack
from novum.errors import DoesNotApply


class PlaybookMoves:
    """Techniques and constants of a pack; a pack without a playbook has none of the former."""

    def __init__(self, pack: Pack) -> None:
        """Read the pack's `playbook/`.

        Raises:
            PackError: a file of the playbook is malformed.
        """
        self.pack = pack
        self.techniques = playbook.load_playbook(pack.folder / "playbook")

    def apply(self, name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """All files after a technique was applied.

        Raises:
            DoesNotApply: it does not fit these files, or there is none of that name.
        """
        if name not in self.techniques:
            known = ", ".join(self.techniques) or "none"
            raise DoesNotApply(f"the playbook has no technique {name!r}; it has {known}")
        return playbook.apply_move(self.techniques[name], files)

    def make(self, move: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """All files after a move as lineages name it: a technique, or `CONSTANT=value`.

        Raises:
            DoesNotApply: it does not fit these files.
        """
        name, _, value = move.partition("=")
        return self.set_constant(name, value, files) if value else self.apply(name, files)

    def fits(self, move: str, files: Mapping[str, bytes]) -> bool:
        """Whether a move can be made on these files."""
        try:
            self.make(move, files)
        except DoesNotApply:
            return False
        return True

    def constants(self, files: Mapping[str, bytes]) -> dict[str, str]:
        """What may be turned, by name, as it is written."""
        if self.pack.manifest.perturb == "constants":
            return {c.name: str(c.value) for c in playbook.constants(files)}
        return {n.name: str(n.value) for n in named_numbers(self._editable(files))}

    def set_constant(self, name: str, value: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """All files after a constant was given another value.

        Raises:
            DoesNotApply: no such constant, or the value is not a number.
        """
        number = _number(value)
        if self.pack.manifest.perturb == "numbers":
            return {**files, **set_number(self._editable(files), name, number)}
        found = [c for c in playbook.constants(files) if c.name == name]
        if len(found) != 1:
            where = ", ".join(c.file for c in found) or "no file"
            raise DoesNotApply(f"the constant {name} is in {where}; it must be in one")
        text = files[found[0].file].decode()
        changed = playbook.set_constant(text, name, number).encode()
        return {**files, found[0].file: changed}

    def _editable(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        return {path: content for path, content in files.items() if self.pack.is_editable(path)}


def _number(text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise DoesNotApply(f"{text!r} is not a number")
