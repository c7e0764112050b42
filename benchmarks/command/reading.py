"""Read a number from what a command printed or wrote."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import fmean
from typing import Any, Literal

from novum.errors import UsageError

HARNESS = ("wall_s", "cpu_s", "peak_bytes")
MAX_JSON_BYTES = 16 << 20


class NoNumber(Exception):
    """The number is not there; the message says what is."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number stands."""

    kind: Literal["pattern", "json", "harness"]
    text: str
    """The pattern, the path inside the file (`a.0.b`), or the name of the measurement."""
    file: str = ""


def parse_source(text: str) -> Source:
    """Read `PATTERN`, `json:FILE:PATH` or `harness:NAME`.

    Raises:
        UsageError: it is none of them; the message says what is wrong.
    """
    kind, _, rest = text.partition(":")
    if kind == "harness":
        if rest not in HARNESS:
            raise UsageError(f"the harness measures {', '.join(HARNESS)}; not {rest!r}.")
        return Source("harness", rest)
    if kind == "json":
        file, _, path = rest.partition(":")
        pure = PurePosixPath(file)
        if not file or not path or pure.is_absolute() or ".." in pure.parts:
            raise UsageError(
                f"{text!r} names no number in a JSON file of the project; write "
                "json:results.json:benchmarks.0.stats.mean"
            )
        return Source("json", path, pure.as_posix())
    try:
        groups = re.compile(text, re.MULTILINE).groups
    except re.error as error:
        raise UsageError(f"the pattern {text!r} cannot be read: {error}.") from error
    if groups != 1:
        raise UsageError(
            f"the pattern {text!r} has {groups or 'no'} groups; put the number, and only it, in "
            "parentheses: 'val_loss: ([0-9.]+)'. Others are written (?:...)."
        )
    return Source("pattern", text)


def read_number(
    source: Source, stdout: str, stderr: str, folder: Path, observed: Mapping[str, float]
) -> float:
    """The number, finite.

    Raises:
        NoNumber: there is none, or it is no number.
    """
    if source.kind == "harness":
        value = observed[source.text]
    elif source.kind == "json":
        value = _in_json(source, folder)
    else:
        value = as_number(last_match(source.text, stdout, stderr)[0])
    if not math.isfinite(value):
        raise NoNumber(f"its metric is {value}")
    return value


def last_match(pattern: str, stdout: str, stderr: str) -> tuple[str, str, int]:
    """Text of the group, the whole match and how many there were; the last one counts.

    stderr is read only where stdout has no match.

    Raises:
        NoNumber: nothing matches.
    """
    for text in (stdout, stderr):
        found = list(re.finditer(pattern, text, re.MULTILINE))
        if found:
            return found[-1].group(1) or "", found[-1].group(0), len(found)
    printed = (stdout.strip() or stderr.strip()).splitlines()
    near = _near(pattern, stdout + "\n" + stderr)
    if near:
        raise NoNumber(f"nothing it printed matches {pattern!r}; where the number goes, {near!r}")
    last = f"; its last line is {printed[-1][:120]!r}" if printed else "; it printed nothing"
    raise NoNumber(f"nothing it printed matches {pattern!r}{last}")


def as_number(text: str) -> float:
    """The value of a text such as `0.51`, `1e-3`, `1,024` or `0.51.` at the end of a sentence."""
    plain = text.strip().replace(",", "").rstrip(".")
    try:
        return float(plain)
    except ValueError:
        raise NoNumber(f"{text!r} is no number") from None


def _near(pattern: str, text: str) -> str:
    """What stands where the group should match: `nan`, most often."""
    head = re.match(r"((?:[^\\(]|\\.)*)\((?!\?)", pattern)
    if head is None or not head.group(1).strip():
        return ""
    found = re.findall(head.group(1) + r"(\S+)", text, re.MULTILINE)
    return str(found[-1])[:60] if found else ""


def _in_json(source: Source, folder: Path) -> float:
    path = folder / source.file
    # Whoever wrote it may have put a link or a pipe there.
    is_inside = path.parent.resolve().is_relative_to(folder.resolve())
    try:
        status = path.lstat()
    except OSError:
        raise NoNumber(f"it left no file {source.file}") from None
    if not is_inside or not stat.S_ISREG(status.st_mode):
        raise NoNumber(f"{source.file} is no regular file of the project")
    if status.st_size > MAX_JSON_BYTES:
        raise NoNumber(f"{source.file} has {status.st_size} bytes; the limit is {MAX_JSON_BYTES}")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise NoNumber(f"{source.file} is not JSON: {error}") from error
    found = list(_follow(data, source.text.split("."), source))
    return fmean(found)


def _follow(data: Any, path: list[str], source: Source) -> list[float]:
    """The numbers at a path; `*` stands for every entry, whose mean is taken."""
    if not path:
        if isinstance(data, bool) or not isinstance(data, int | float):
            raise NoNumber(f"{source.text} in {source.file} is {str(data)[:60]!r}, no number")
        return [float(data)]
    key, rest = path[0], path[1:]
    entries = (
        data if isinstance(data, list) else list(data.values()) if isinstance(data, dict) else []
    )
    if key == "*" and entries:
        return [number for entry in entries for number in _follow(entry, rest, source)]
    if isinstance(data, dict) and key in data:
        return _follow(data[key], rest, source)
    if isinstance(data, list) and key.lstrip("-").isdigit() and -len(data) <= int(key) < len(data):
        return _follow(data[int(key)], rest, source)
    known = ", ".join(map(str, data)) if isinstance(data, dict) else f"{len(entries)} entries"
    raise NoNumber(f"{source.file} has no {source.text}: at {key!r} there is {known[:200]}")
