"""`novum doctor`: attack the sandboxes of this machine and say which promises hold."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from novum.sandboxes.doctor import Attack, Examination, Finding


def doctor(
    providers: Annotated[
        list[str] | None,
        typer.Argument(help="Sandboxes to examine: bubblewrap, docker, process. Default: all."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="Only attacks whose name or promise holds this word.")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every attack.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a line, one line a sandbox.")
    ] = False,
) -> None:
    """Attack the sandboxes of this machine and say what holds.

    Every attack is bounded: one that succeeds does no harm. Exit code 1: a stated promise failed.

    Example: novum doctor bubblewrap --only network --verbose
    """
    from novum.errors import UnknownName
    from novum.sandboxes.doctor import ATTACKS
    from novum.sandboxes.doctor.report import lines
    from novum.sandboxes.registry import PROVIDERS

    names = providers or list(PROVIDERS)
    if unknown := [name for name in names if name not in PROVIDERS]:
        raise UnknownName(f"no sandbox {unknown[0]!r}; there are {', '.join(PROVIDERS)}")
    attacks = [a for a in ATTACKS if only in a.name or only in a.promise.value]
    if not attacks:
        raise UnknownName(f"no attack or promise has {only!r} in its name")
    is_sound = True
    for name in names:
        examination = _examine(name, attacks)
        is_sound &= examination.is_sound
        if as_json:
            print(json.dumps(examination.as_json()), flush=True)
        else:
            print("\n".join(lines(examination, verbose)), flush=True)
    if not as_json:
        print(_closing(is_sound))
    raise typer.Exit(0 if is_sound else 1)


def _examine(name: str, attacks: list[Attack]) -> Examination:
    from novum.errors import SandboxUnavailable
    from novum.sandboxes.doctor import absent, examine
    from novum.sandboxes.registry import find_sandbox

    n_done = 0

    def show(finding: Finding) -> None:
        nonlocal n_done
        n_done += 1
        if sys.stderr.isatty():
            text = f"{name}: {n_done} of {len(attacks)}: {finding.attack}"
            print(f"\r{text:<70}", end="" if n_done < len(attacks) else "\r", file=sys.stderr)

    try:
        return examine(find_sandbox(name), attacks, show)
    except SandboxUnavailable as error:
        return absent(name, str(error))


def _closing(is_sound: bool) -> str:
    if is_sound:
        return "Every promise that was put to the test holds. What is not promised: see above."
    return "A promise is BROKEN: do not run a model's code in that sandbox on this machine."
