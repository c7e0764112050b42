"""Moves: known techniques as edits that a program can apply, and constants that it can perturb.

A pack's `playbook/` holds one TOML file for each technique. Applying one to a candidate's files
gives new files that parse, or `DoesNotApply` with the reason; it never half-applies, and what is
there already is refused.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError, model_validator

from novum.errors import DoesNotApply, PackError
from novum.lab.records import Kind

Files = dict[str, bytes]


class Edit(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Replace one passage of one file."""

    file: str = "train.py"
    find: str = Field(min_length=1)
    """Passage that must occur exactly once."""
    any: tuple[str, ...] = ()
    """Other forms of the passage, tried in order when `find` is missing."""
    replace: str


class SetConstant(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Set or scale one top-level constant."""

    file: str = "train.py"
    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    value: int | float | None = None
    factor: float | None = Field(default=None, gt=0)
    lowest: float = float("-inf")
    highest: float = float("inf")
    """A factor that leads out of these bounds does not apply."""
    optional: bool = False
    """Leave the number alone where the factor would change nothing or lead out of its bounds."""

    @model_validator(mode="after")
    def one_way(self) -> SetConstant:
        """Exactly one of `value` and `factor`."""
        if (self.value is None) == (self.factor is None):
            raise ValueError(f"{self.name}: give either `value` or `factor`")
        return self


class Technique(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """One file of a playbook."""

    id: str = ""
    title: str
    kind: Kind
    hypothesis: str
    """Why it should help, in a sentence that a trial can refute."""
    source: str
    knowledge: str
    """For a language model: what it is, when it helps and what goes wrong."""
    prior: float = 0.01
    """Gain to expect of it alone, as a fraction, before this run has measured it."""
    markers: tuple[str, ...] = ()
    """Any of these strings in a file means that the technique is there already."""
    edits: tuple[Edit, ...] = ()
    constants: tuple[SetConstant, ...] = ()

    @model_validator(mode="after")
    def does_something(self) -> Technique:
        """A technique edits something, and an edit leaves a marker by which it is known again."""
        if not self.edits and not self.constants:
            raise ValueError("a technique needs `edits` or `constants`")
        if self.edits and not any(m in e.replace for m in self.markers for e in self.edits):
            raise ValueError("one of `markers` must stand in one of the replacements")
        return self


@dataclass(frozen=True)
class Constant:
    """A top-level `NAME = number` and where the number stands."""

    file: str
    name: str
    value: int | float
    line: int
    """From 1."""


def load_playbook(folder: Path) -> dict[str, Technique]:
    """All techniques of a folder by the names of their files.

    Raises:
        PackError: a file is malformed; the message names it and the key.
    """
    techniques: dict[str, Technique] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            fields = tomllib.loads(path.read_text()) | {"id": path.stem}
            techniques[path.stem] = Technique.model_validate(fields)
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise PackError(f"{path}: {error}") from error
    return techniques


def apply_move(technique: Technique, files: Mapping[str, bytes]) -> Files:
    """The files with the technique in them; what is not named stays as it is.

    Raises:
        DoesNotApply: it is there already, a passage or constant is missing or ambiguous, nothing
            would change, or the result is not Python.
    """
    refuse_if_present(technique, files)
    changed = dict(files)
    for edit in technique.edits:
        changed[edit.file] = replace_passage(
            technique.id, edit, text_of(changed, edit.file)
        ).encode()
    for setting in technique.constants:
        text = text_of(changed, setting.file)
        value = new_value(technique.id, setting, text)
        if value != numbers_of(text.encode())[setting.name][0]:
            changed[setting.file] = set_constant(text, setting.name, value).encode()
    if changed == dict(files):
        raise DoesNotApply(f"{technique.id}: the files already are as it would make them")
    require_parses(technique.id, {k: v for k, v in changed.items() if files.get(k) != v})
    return changed


def refuse_if_present(technique: Technique, files: Mapping[str, bytes]) -> None:
    """Raise if a marker stands in one of the files that the technique edits."""
    for name in {edit.file for edit in technique.edits}:
        for marker in technique.markers:
            if marker in text_of(files, name):
                raise DoesNotApply(f"{technique.id}: {name} already has it ({marker!r} is there)")


def replace_passage(technique: str, edit: Edit, text: str) -> str:
    """The text with one passage replaced."""
    for passage in (edit.find, *edit.any):
        if (found := text.count(passage)) == 1:
            return text.replace(passage, edit.replace)
        if found > 1:
            raise DoesNotApply(
                f"{technique}: a passage occurs {found} times in {edit.file}: {passage!r}"
            )
    raise DoesNotApply(f"{technique}: {edit.file} lacks the passage {edit.find!r}")


def constants(files: Mapping[str, bytes]) -> list[Constant]:
    """Numeric constants with UPPERCASE names at the top level of the Python files, in order.

    A file that does not parse, and a name that is assigned more than once, have none.
    """
    found: list[Constant] = []
    for name in sorted(files):
        if name.endswith(".py"):
            found += [
                Constant(name, k, v, node.lineno)
                for k, (v, node) in numbers_of(files[name]).items()
            ]
    return found


def set_constant(text: str, name: str, value: int | float) -> str:
    """The text with the number of a top-level constant replaced, everything else to the letter.

    Raises:
        DoesNotApply: there is no such constant.
    """
    numbers = numbers_of(text.encode())
    if name not in numbers:
        raise DoesNotApply(f"there is no single top-level number named {name}")
    _, node = numbers[name]
    lines = text.encode().splitlines(keepends=True)  # columns of the syntax tree count bytes
    line = lines[node.lineno - 1]
    lines[node.lineno - 1] = (
        line[: node.col_offset] + number(value).encode() + line[node.end_col_offset :]
    )
    return b"".join(lines).decode()


def number(value: int | float) -> str:
    """A number as Python writes it, without the noise of binary fractions."""
    return repr(value) if isinstance(value, int) else repr(float(f"{value:.6g}"))


@lru_cache(maxsize=16)
def numbers_of(source: bytes) -> dict[str, tuple[int | float, ast.expr]]:
    """Value and node of each top-level `NAME = number` that is assigned once."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, tuple[int | float, ast.expr]] = {}
    repeated: set[str] = set()
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=node) if name.isupper():
                value = as_number(node)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as node) if (
                name.isupper()
            ):
                value = as_number(node)
            case _:
                continue
        if name in found:
            repeated.add(name)
        if value is not None and node.lineno == node.end_lineno:
            found[name] = (value, node)
    return {name: pair for name, pair in found.items() if name not in repeated}


def as_number(node: ast.expr) -> int | float | None:
    """The value of a literal number, a leading minus included; `None` for anything else."""
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    return None


def new_value(technique: str, setting: SetConstant, text: str) -> int | float:
    """The value that a setting asks for; an integer stays one."""
    numbers = numbers_of(text.encode())
    if setting.name not in numbers:
        raise DoesNotApply(f"{technique}: {setting.file} has no top-level number {setting.name}")
    old, _ = numbers[setting.name]
    if setting.value is not None:
        return setting.value
    assert setting.factor is not None
    value = round(old * setting.factor) if isinstance(old, int) else old * setting.factor
    if not setting.lowest <= value <= setting.highest or value == old:
        if setting.optional:
            return old
        raise DoesNotApply(
            f"{technique}: {setting.name} = {old} times {setting.factor:g} leaves "
            f"[{setting.lowest:g}, {setting.highest:g}] or changes nothing"
        )
    return value


def text_of(files: Mapping[str, bytes], name: str) -> str:
    """One file as text."""
    if name not in files:
        raise DoesNotApply(f"there is no file {name}")
    try:
        return files[name].decode()
    except UnicodeDecodeError as error:
        raise DoesNotApply(f"{name} is not UTF-8 text") from error


def require_parses(technique: str, files: Mapping[str, bytes]) -> None:
    """Raise unless every Python file among these parses."""
    for name, content in files.items():
        if name.endswith(".py"):
            try:
                ast.parse(content, name)
            except (SyntaxError, ValueError) as error:
                raise DoesNotApply(f"{technique}: {name} would not be Python: {error}") from error
