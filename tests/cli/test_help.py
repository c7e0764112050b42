"""What `--help` says of every command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from novum.app.cli import app
from novum.app.eval_commands import suites


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        yield (*path, name), command


FOUND = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", FOUND, ids=" ".join)
def test_help_fits_a_terminal_and_names_what_an_option_takes(path: tuple[str, ...]) -> None:
    said = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"})
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[0].startswith("Usage: ") and len(lines) < 60
    for line in lines:
        assert len(line) <= 80 or "Example: " in line
        assert not any(word in line for word in ("<str", "<bool", "<int", "<path", "<list"))
    for param in FOUND[path].params:
        if not getattr(param, "is_flag", False):
            assert param.metavar and param.metavar in said.stdout
        assert param.help, f"nothing is said of {param.opts}"


@pytest.mark.parametrize("name", sorted(suites()))
def test_a_suite_says_what_it_takes(name: str) -> None:
    said = CliRunner().invoke(app, ["eval", name, "--help"])
    assert said.exit_code == 0 and said.stdout.startswith(f"usage: novum eval {name} ")


def test_a_misspelt_command_is_answered_with_the_nearest_and_where_help_is() -> None:
    said = CliRunner().invoke(app, ["statsu"])
    assert said.exit_code == 2
    assert "Did you mean 'status'?" in said.stderr and "-h' for help" in said.stderr
