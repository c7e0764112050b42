"""Write the folder of a project's pack: manifest, task, the project itself, a cheat, a README."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from novum.benchmarks.command.grade import HIDDEN
from novum.benchmarks.command.repository import Project
from novum.benchmarks.command.spec import Spec
from novum.benchmarks.pack import Guardrail
from novum.errors import UsageError
from novum.lab.records import Better

START = "original"
GRADE = '''"""The commands of pack.toml, run in a copy of the project (docs/command.md of Novum)."""

from novum.benchmarks.command import Grader

__all__ = ["Grader"]
'''
RULES = '''"""The line that reports the metric must not stand ready-made in the source."""

from novum.evals.rules.printed import printed_metric

PATTERN = {pattern}
RULES = (printed_metric(PATTERN),)
'''


@dataclass(frozen=True)
class Wish:
    """Everything that `novum init` was told."""

    id: str
    metric_name: str
    better: Better
    editable: tuple[str, ...]
    spec: Spec
    unit: str = ""
    hidden: tuple[str, ...] = ()
    """Globs of files that only the check, held-out and grade stages see."""
    guardrails: Mapping[str, Guardrail] = field(default_factory=dict)
    budget_s: float = 600.0
    score_s: float = 600.0
    smoke_s: float = 20.0
    cores: int = 1
    gpus: int = 0
    memory_bytes: int = 4 << 30
    noise_trials: int = 5
    max_jump: float = 0.5
    digits: int = 4
    deterministic: bool = False


def split_files(wish: Wish, project: Project) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What candidates see, and what is hidden from them.

    Raises:
        UsageError: a glob matches nothing, or everything that may be edited is hidden.
    """
    for glob in wish.hidden:
        if not any(fnmatch(path, glob) for path in project.files):
            raise UsageError(f"--hidden {glob!r} matches no file of the project.")
    hidden = {p: c for p, c in project.files.items() if any(fnmatch(p, g) for g in wish.hidden)}
    seen = {p: c for p, c in project.files.items() if p not in hidden}
    for glob in wish.editable:
        if not any(fnmatch(path, glob) for path in seen):
            some = ", ".join(sorted(seen)[:12])
            raise UsageError(f"--editable {glob!r} matches no file of the project; it has {some}.")
    if wish.spec.source.kind == "json" and wish.spec.source.file in seen:
        seen.pop(wish.spec.source.file)  # an old result must not pass for a new one
    return seen, hidden


def write_pack(
    folder: Path, wish: Wish, seen: Mapping[str, bytes], hidden: Mapping[str, bytes]
) -> None:
    """Write the pack into a new folder."""
    write_files(folder / "start" / START, seen)
    if hidden:
        write_files(folder / HIDDEN, hidden)
    (folder / "playbook").mkdir()
    texts = {"pack.toml": manifest(wish), "grade.py": GRADE, "task.md": task(wish, seen)}
    if wish.spec.source.kind == "pattern" and wish.spec.is_self_reported:
        texts["rules.py"] = RULES.format(pattern=json.dumps(wish.spec.metric))
    for name, text in texts.items():
        (folder / name).write_text(text)


def write_cheats(folder: Path, wish: Wish, seen: Mapping[str, bytes], line: str) -> None:
    """Cheats that the contract suite runs: an edit out of bounds, and the metric printed at once.

    `line` is what the program printed of its metric, with a better number in it.
    """
    names = sorted(seen, key=lambda p: (p.startswith("."), p))
    fixed = next((p for p in names if not _is_editable(wish, p)), "")
    path = fixed or next(p for p in ("cheat.txt", "cheat.dat") if not _is_editable(wish, p))
    changed = seen.get(path, b"") + b"\n"
    write_files(folder / "cheats" / "edits_what_is_fixed", {path: changed})
    python = next((p for p in sorted(seen) if _is_editable(wish, p) and p.endswith(".py")), "")
    if line and python and (folder / "rules.py").is_file():
        program = f"print({line!r})\n".encode()
        write_files(folder / "cheats" / "prints_the_metric", {python: program})


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their relative paths below a folder."""
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def manifest(wish: Wish) -> str:
    """`pack.toml`; every setting that a user may want to change stands there."""
    profile = "gpu" if wish.gpus else "cpu"
    spec = wish.spec.model_dump(exclude_defaults=True)
    guards = spec.pop("guards", {})
    lines = [
        f"id = {_toml(wish.id)}",
        f"title = {_toml(f'{wish.spec.run}: {wish.metric_name}')}",
        f"metric = {{ name = {_toml(wish.metric_name)}, unit = {_toml(wish.unit)}, "
        f"better = {_toml(wish.better)}, digits = {wish.digits} }}",
        f"editable = {_toml(list(wish.editable))}",
        f"default_start = {_toml(START)}",
        f"default_profile = {_toml(profile)}",
        f"self_reported = {_toml(wish.spec.is_self_reported)}",
        f"deterministic = {_toml(wish.deterministic)}",
        "# The playbook brain turns every named number of the editable files.",
        'perturb = "numbers"',
        "# A larger gain in one step, as a fraction, waits until you have looked at it.",
        f"max_jump = {wish.max_jump:g}",
        "",
        f"[profiles.{profile}]",
        "# Seconds: of `run`; of a smoke test, then it is cut off; of `build`; of everything else.",
        f"budget_s = {wish.budget_s:g}",
        f"smoke_s = {min(wish.smoke_s, wish.budget_s):g}",
        f"allowance_s = {wish.score_s:g}",
        f"score_s = {wish.score_s:g}",
        f"cores = {wish.cores}",
        f"gpus = {wish.gpus}",
        f"memory_bytes = {wish.memory_bytes}",
        "pids = 512",
        "# Measurements of the project as it is, before anything is tried.",
        f"noise_trials = {wish.noise_trials}",
        "",
        f"[profiles.{profile}.options]",
        *(f"{key} = {_toml(value)}" for key, value in spec.items()),
    ]
    if guards:
        lines += ["", f"[profiles.{profile}.options.guards]"]
        lines += [f"{_toml(name)} = {_toml(text)}" for name, text in guards.items()]
    for name, rail in wish.guardrails.items():
        lines += ["", f"[guardrails.{_toml(name)}]"]
        lines += [f"better = {_toml(rail.better)}", f"margin = {rail.margin:g}"]
    return "\n".join(lines) + "\n"


def task(wish: Wish, seen: Mapping[str, bytes]) -> str:
    """`task.md`: what a researcher is told."""
    spec = wish.spec
    editable = [path for path in sorted(seen) if _is_editable(wish, path)]
    listed = ", ".join(f"`{path}`" for path in editable[:40])
    more = f" and {len(editable) - 40} more" if len(editable) > 40 else ""
    globs = ", ".join(f"`{glob}`" for glob in wish.editable)
    lines = [
        "# Goal",
        "",
        f"Improve **{wish.metric_name}** of this project; {wish.better} is better.",
        f"It is measured by `{spec.run}` in a fresh copy of the project"
        + (f" after `{spec.build}`" if spec.build else ""),
        f"within {wish.budget_s:g} seconds, {_measured(wish)}.",
        "",
        "# Rules",
        "",
        f"- Only files that match {globs} may change: {listed}{more}.",
        "  Every other file is put back as it was before anything runs.",
        "- There is no network. The command gets another seed in `$NOVUM_SEED` each time.",
    ]
    lines += [f"- `{command}` must succeed." for command in spec.check]
    lines += [
        f"- {name} may not get worse by more than {100 * rail.margin:g} %."
        for name, rail in wish.guardrails.items()
    ]
    if spec.heldout:
        lines.append(f"- What counts in the end is `{spec.heldout}`, with files you do not see.")
    if spec.is_self_reported:
        lines.append(
            "- The number is read from what the project itself reports. Reporting a number that was"
            " not measured is a hack, and every view says that the metric is self-reported."
        )
    return "\n".join(lines) + "\n"


def readme(wish: Wish, measured: str) -> str:
    """`README.md`: how the baseline was measured."""
    return (
        f"# {wish.id}\n\nMade by `novum init` from a project: `{wish.spec.run}`,\n"
        f"{_measured(wish)}.\n"
        "`start/original` is the project as it was then"
        + (", `hidden/` what candidates never see" if wish.hidden or wish.spec.grade else "")
        + f".\n\n```\n{measured.strip()}\n```\n\n"
        "Settings with their meaning: `novum/benchmarks/command/spec.py` and docs/command.md.\n"
    )


def _measured(wish: Wish) -> str:
    spec, source = wish.spec, wish.spec.source
    if source.kind == "harness":
        return f"`{source.text}` as the harness measures it from outside"
    where = f"`{source.text}` of `{source.file}`" if source.kind == "json" else f"`{source.text}`"
    if spec.grade:
        return f"as `{spec.grade}` says ({where}), which runs outside of the candidate"
    return f"read as {where} from what it {'writes' if source.kind == 'json' else 'prints'}"


def _is_editable(wish: Wish, path: str) -> bool:
    return any(fnmatch(path, glob) for glob in wish.editable)


def _toml(value: Any) -> str:
    """A value as TOML writes it; a JSON string is one of TOML's."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def plain_id(name: str) -> str:
    """An id from any name: `My Repo` becomes `my-repo`."""
    found = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    return found if found[:1].isalpha() else f"project-{found}".rstrip("-")
