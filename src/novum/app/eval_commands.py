"""`novum eval`: run a suite that judges the lab itself.

A suite is a module of `novum.evals.suites` or `novum.app.latency` with a function `run(arguments)`
or `main(arguments)` that prints its table and returns an exit code.
"""

from __future__ import annotations

from textwrap import fill
from typing import Annotated

import typer

ENTRIES = {"run", "main"}
WIDTH = 18
PLACES = ("novum.evals.suites", "novum.app.latency")


def run_suite(
    suite: Annotated[
        str | None, typer.Argument(help="Name of a suite; all names if left out.")
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What the suite itself takes; try --help after it.")
    ] = None,
) -> None:
    """Run a suite that judges the lab itself: its overhead, its auditor, its brains.

    Example: novum eval auditor
    """
    from importlib import import_module

    from novum.errors import UnknownName

    found = suites()
    if suite is None:
        for name, (_, summary) in found.items():
            gap = " " * (WIDTH - len(name))
            print(fill(name + gap + summary, 80, subsequent_indent=" " * WIDTH))
        return
    if suite not in found:
        raise UnknownName(f"no suite {suite!r}; there is {', '.join(found) or 'none'}.")
    module = import_module(found[suite][0])
    entry = getattr(module, "run", None) or module.main
    raise typer.Exit(int(entry(arguments or [])))


def suites() -> dict[str, tuple[str, str]]:
    """Module and first line of the docstring of every suite, by name; nothing is imported."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    found: dict[str, tuple[str, str]] = {}
    for place in PLACES:
        spec = find_spec(place)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in sorted(Path(folder).glob("*.py")):
                tree = ast.parse(path.read_text())
                named = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
                if named & ENTRIES:
                    words = (ast.get_docstring(tree) or "").splitlines()
                    found[path.stem] = (f"{place}.{path.stem}", words[0] if words else "")
    return found
