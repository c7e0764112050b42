"""Named numbers in the files of any project, and how to replace one where it stands.

Where a pack's own code keeps its constants in UPPERCASE at the top level (`moves.constants`), an
existing project has them anywhere: assignments, defaults, keyword arguments and entries of Python
files, `#define` and `const` in C, entries of settings files. What has no name is left alone.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from novum.benchmarks.moves import as_number, number, require_parses
from novum.errors import DoesNotApply

C_LIKE = (".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hpp")
SETTINGS = (".toml", ".ini", ".cfg", ".yaml", ".yml", ".json", ".conf", ".env", ".mk")
NUMBER = r"(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
IN_C = re.compile(
    rf"^\s*#\s*define\s+(?P<name>[A-Za-z_]\w*)\s+\(?{NUMBER}[uUlLfF]*\)?\s*(?://.*|/\*.*)?$"
    r"|^\s*(?:static\s+|inline\s+)*(?:const|constexpr)\s+(?:[A-Za-z_]\w*\s+)+?(?P<name2>[A-Za-z_]\w*)"
    rf"\s*=\s*{NUMBER.replace('number', 'number2')}[uUlLfF]*\s*[;,]"
)
IN_SETTINGS = re.compile(
    rf"^\s*[\"']?(?P<name>[A-Za-z_][\w.-]*)[\"']?\s*[:=]\s*{NUMBER}\s*,?\s*(?:[#;].*)?$"
)
NOT_TUNABLE = re.compile(
    r"seed|random_state|version|port$|year|indent|stacklevel|timeout|verbos|width_px|^__", re.I
)
"""Names of numbers that decide nothing, or that nobody may choose."""


@dataclass(frozen=True, slots=True)
class Named:
    """A number and where it stands."""

    file: str
    name: str
    """Unique in the candidate: `lr`, or `lr#2` or `train.py:lr` where there are several."""
    value: int | float
    line: int
    """From 1."""
    start: int
    end: int
    """Columns in bytes."""


def named_numbers(files: Mapping[str, bytes]) -> list[Named]:
    """Every named number of the files, in the order of their names and lines."""
    found = [one for path in sorted(files) for one in _of(path, files[path])]
    files_of: dict[str, set[str]] = {}
    for one in found:
        files_of.setdefault(one.name, set()).add(one.file)
    return [
        Named(o.file, o.name if len(files_of[o.name]) == 1 else f"{o.file}:{o.name}",
              o.value, o.line, o.start, o.end)
        for o in found
    ]  # fmt: skip


def set_number(files: Mapping[str, bytes], name: str, value: int | float) -> dict[str, bytes]:
    """The files with one number replaced, everything else to the letter.

    Raises:
        DoesNotApply: there is no such number, or the result is not Python.
    """
    found = next((one for one in named_numbers(files) if one.name == name), None)
    if found is None:
        raise DoesNotApply(f"there is no number named {name} in the files that may be edited")
    lines = files[found.file].splitlines(keepends=True)
    line = lines[found.line - 1]
    lines[found.line - 1] = line[: found.start] + number(value).encode() + line[found.end :]
    changed = {**files, found.file: b"".join(lines)}
    require_parses(name, {found.file: changed[found.file]})
    return changed


@lru_cache(maxsize=256)
def _of(path: str, content: bytes) -> tuple[Named, ...]:
    if path.endswith(".py"):
        places = list(_in_python(content))
    elif path.endswith(C_LIKE):
        places = list(_in_lines(content, IN_C))
    elif path.endswith(SETTINGS):
        places = list(_in_lines(content, IN_SETTINGS))
    else:
        return ()
    seen: Counter[str] = Counter()
    found = []
    for name, value, line, start, end in sorted(places, key=lambda p: (p[2], p[3])):
        if NOT_TUNABLE.search(name):
            continue
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
        found.append(Named(path, unique, value, line, start, end))
    return tuple(found)


Place = tuple[str, int | float, int, int, int]


def _in_python(content: bytes) -> Iterator[Place]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        for name, value in _bindings(node):
            number = as_number(value)
            if number is not None and value.lineno == value.end_lineno:
                yield name, number, value.lineno, value.col_offset, value.end_col_offset or 0


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and the expressions that stand beside them."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case ast.Call(args=args, keywords=keywords):
            option = args[0].value if args and isinstance(args[0], ast.Constant) else ""
            for keyword in keywords:
                is_option = keyword.arg == "default" and isinstance(option, str) and option
                called = str(option).lstrip("-") if is_option else keyword.arg
                if called:
                    yield called, keyword.value
        case ast.arguments(posonlyargs=first, args=plain, defaults=defaults):
            named = [*first, *plain][len(first) + len(plain) - len(defaults) :]
            yield from ((arg.arg, value) for arg, value in zip(named, defaults, strict=True))
            pairs = zip(node.kwonlyargs, node.kw_defaults, strict=True)
            yield from ((arg.arg, value) for arg, value in pairs if value is not None)
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value


def _in_lines(content: bytes, pattern: re.Pattern[str]) -> Iterator[Place]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    for line, row in enumerate(text.splitlines(keepends=True), 1):
        found = pattern.match(row.rstrip("\r\n"))
        if found is None:
            continue
        which = "number" if found.group("number") else "number2"
        name = found.group("name" if which == "number" else "name2")
        written = found.group(which)
        is_whole = re.fullmatch(r"-?\d+", written) is not None
        if is_whole and len(written.lstrip("-")) > 1 and written.lstrip("-")[0] == "0":
            continue  # octal, or a code
        start, end = (
            len(row[: found.start(which)].encode()),
            len(row[: found.end(which)].encode()),
        )
        yield name, int(written) if is_whole else float(written), line, start, end
