"""From the words of `novum init` to a pack's settings; what is missing is asked for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from pydantic import ValidationError

from novum.app.numbers import parse_duration
from novum.benchmarks.command.openevolve import METRIC, with_driver
from novum.benchmarks.command.reading import HARNESS, parse_source
from novum.benchmarks.command.repository import Project
from novum.benchmarks.command.spec import Spec, words
from novum.benchmarks.command.writing import Wish, plain_id
from novum.benchmarks.pack import Guardrail
from novum.errors import UsageError
from novum.lab.records import Better

Ask = Callable[[str, str], str]
"""A question and the answer that Enter gives."""
EXAMPLE = (
    'novum init --repo . --run "python train.py" --metric "val_loss: ([0-9.]+)" --better lower '
    "--editable train.py"
)
GUARD = re.compile(
    r"(?P<name>[\w.-]+)\s+(?P<better>lower|higher)\s+(?P<margin>[\d.]+)\s*%\s*(?P<source>.*)"
)


@dataclass(frozen=True)
class Given:
    """What the command line says."""

    repo: Path
    run: str | None
    metric: str | None
    better: str | None
    editable: list[str]
    openevolve: str | None
    grade: str | None
    heldout: str | None
    hidden: list[str]
    check: list[str]
    guard: list[str]
    build: str | None
    keep: list[str]
    mount: list[Path]
    name: str | None
    metric_name: str | None
    unit: str
    budget: str
    cores: int
    gpus: int
    memory_gb: float
    max_jump: float | None


def wish_of(given: Given, project: Project, ask: Ask | None) -> tuple[Wish, Project]:
    """The pack that is wanted, and the project with a grading program from elsewhere in it.

    Raises:
        UsageError: something is missing and nobody can be asked, or contradicts something else.
    """
    given, project = _of_openevolve(given, project)
    run, metric, better, editable = _complete(given, project, ask)
    grade, project, hidden = _grader(given, project)
    sources, rails = _guards(given.guard)
    try:
        spec = Spec(
            run=run,
            metric=metric,
            build=given.build or "",
            check=tuple(given.check),
            heldout=given.heldout or "",
            grade=grade,
            guards=sources,
            keep=tuple(given.keep),
            executable=project.executable,
            mounts=tuple(str(_folder(path)) for path in given.mount),
        )
    except ValidationError as error:
        said = (e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise UsageError("; ".join(said)) from error
    for command in (spec.run, spec.build, spec.heldout, spec.grade, *spec.check):
        _must_be_seen(command, spec)
    try:
        budget_s = parse_duration(given.budget)
    except ValueError:
        raise UsageError(f"{given.budget!r} is no time; write 90s or 5m.") from None
    wish = Wish(
        id=plain_id(given.name or given.repo.resolve().name),
        metric_name=given.metric_name or _name_of(metric),
        better=better,
        editable=tuple(editable),
        spec=spec,
        unit=given.unit
        or {"wall_s": "s", "cpu_s": "s", "peak_bytes": "B"}.get(spec.source.text, ""),
        hidden=(*given.hidden, *hidden),
        guardrails=rails,
        budget_s=budget_s,
        cores=given.cores,
        gpus=given.gpus,
        memory_bytes=round(given.memory_gb * (1 << 30)),
        max_jump=given.max_jump or (0.5 if spec.is_self_reported else 0.9),
    )
    return wish, project


def _of_openevolve(given: Given, project: Project) -> tuple[Given, Project]:
    """The same wish with OpenEvolve's evaluator as the command."""
    if given.openevolve is None:
        return given, project
    program = next((p for p in given.editable if p in project.files), "")
    if not program:
        raise UsageError("--openevolve: name the program with --editable initial_program.py.")
    project, run = with_driver(project, given.openevolve, program)
    given = replace(
        given,
        run=given.run or run,
        metric=given.metric or METRIC,
        better=given.better or "higher",
    )
    return given, project


def _complete(
    given: Given, project: Project, ask: Ask | None
) -> tuple[str, str, Better, list[str]]:
    """The four things that every pack needs, from the command line or by asking."""
    missing = [
        f"--{name}" for name in ("run", "metric", "better", "editable") if not getattr(given, name)
    ]
    if missing and ask is None:
        raise UsageError(f"{', '.join(missing)} must be given.\nExample: {EXAMPLE}")
    script = next(
        (n for n in ("train.py", "main.py", "run.py", "bench.py") if n in project.files), ""
    )
    guess = f"python {script}" if script else "make" if "Makefile" in project.files else ""
    run = given.run or _asked(ask, "Command that is measured", guess)
    metric = given.metric or _asked(
        ask, "Pattern of the number it prints, in parentheses (or json:FILE:a.b, harness:wall_s)",
        "loss: ([0-9.]+)",
    )  # fmt: skip
    better = given.better or _asked(ask, "What is better, lower or higher", "lower")
    if better not in ("lower", "higher"):
        raise UsageError(f"--better is lower or higher, not {better!r}.")
    named = [w for w in words(run, 0) if w in project.files]
    editable = (
        given.editable
        or _asked(
            ask, "Files that may change (globs, separated by spaces)", " ".join(named[:1])
        ).split()
    )
    parse_source(metric)
    return run, metric, "lower" if better == "lower" else "higher", editable


def _asked(ask: Ask | None, question: str, default: str) -> str:
    assert ask is not None  # what is missing has been refused
    return ask(question, default).strip()


def _grader(given: Given, project: Project) -> tuple[str, Project, list[str]]:
    """The grading command, the project with its program, and the files to hide.

    A program of the project is hidden where it lies; one from elsewhere is copied in.
    """
    if not given.grade:
        return "", project, []
    try:
        parts = shlex.split(given.grade)
    except ValueError as error:
        raise UsageError(f"--grade {given.grade!r} cannot be read: {error}.") from error
    inside = [word for word in parts if word in project.files]
    if inside:
        open_ = [w for w in inside if any(fnmatch(w, glob) for glob in given.editable)]
        if open_:
            raise UsageError(f"{open_[0]} measures the candidates, so it cannot be editable.")
        return given.grade, project, inside
    outside = [i for i, word in enumerate(parts) if Path(word).is_file() and "/" + word != word]
    outside = [i for i in outside if i > 0 or not Path(parts[i]).is_relative_to("/usr")]
    if not outside:
        raise UsageError(
            f"--grade {given.grade!r} names no file of the project and none from here; "
            "write --grade 'python judge.py'."
        )
    path = Path(parts[outside[0]])
    parts[outside[0]] = f"./{path.name}" if outside[0] == 0 else path.name
    files = {**project.files, path.name: path.read_bytes()}
    executable = (*project.executable, *([path.name] if outside[0] == 0 else []))
    return shlex.join(parts), Project(files, executable, project.by_git), [path.name]


def _guards(texts: list[str]) -> tuple[dict[str, str], dict[str, Guardrail]]:
    """Sources and guardrails of `NAME lower|higher MARGIN% SOURCE`."""
    sources: dict[str, str] = {}
    rails: dict[str, Guardrail] = {}
    for text in texts:
        found = GUARD.fullmatch(text.strip())
        if found is None or float(found["margin"]) <= 0:
            raise UsageError(
                f"--guard {text!r}: write 'NAME lower|higher MARGIN% PATTERN', as in "
                "'accuracy higher 1% accuracy: ([0-9.]+)' or 'peak_bytes lower 20%'."
            )
        name, source = found["name"], found["source"].strip()
        if not source and name not in HARNESS:
            raise UsageError(
                f"--guard {text!r} says not where {name} stands; without a pattern it is one of "
                f"{', '.join(HARNESS)}."
            )
        if source:
            parse_source(source)
            sources[name] = source
        better: Better = "lower" if found["better"] == "lower" else "higher"
        rails[name] = Guardrail(better=better, margin=float(found["margin"]) / 100)
    return sources, rails


def _must_be_seen(command: str, spec: Spec) -> None:
    """Refuse a program that lies where a sandbox shows nothing."""
    if not command:
        return
    program = Path(words(command, 0)[0])
    if (
        not program.is_absolute()
        or program.is_relative_to("/usr")
        or program.is_relative_to("/bin")
    ):
        return
    if not program.exists():
        raise UsageError(f"there is no program {program}.")
    if not any(program.is_relative_to(place) for place in spec.mounts):
        home = (
            program.parent.parent
            if (program.parent.parent / "pyvenv.cfg").is_file()
            else program.parent
        )
        raise UsageError(f"{program} is not to be seen in a sandbox; show it with --mount {home}.")


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"--mount {path}: there is no such folder.")
    return path.resolve()


def _name_of(metric: str) -> str:
    """What to call a number: the word before it."""
    source = parse_source(metric)
    if source.kind == "json":
        parts = [p for p in source.text.split(".") if not p.lstrip("-").isdigit() and p != "*"]
        return parts[-1] if parts else "metric"
    if source.kind == "harness":
        return {"wall_s": "wall time", "cpu_s": "CPU time", "peak_bytes": "memory"}[source.text]
    before = re.findall(r"[A-Za-z_][\w./-]*", re.sub(r"\\.", " ", source.text.partition("(")[0]))
    return before[-1].strip("./-") if before else "metric"
