"""The command `novum`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer

from novum.app import (
    ablate_command,
    chat_commands,
    diff_commands,
    eval_commands,
    export_commands,
    init_command,
    look_commands,
    mcp_commands,
    mirror_commands,
    pack_commands,
    proof_commands,
    replay_commands,
    run_commands,
    serve_commands,
    submit_commands,
)
from novum.app.doctor import doctor
from novum.app.guard import guarded
from novum.app.help import Command, Group
from novum.app.sandbox import sandbox

app = typer.Typer(
    name="novum",
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 bad usage, 3 budget spent and nothing better found, "
    "4 rejected by the audit, 130 interrupted.",
)

COMMANDS: tuple[Callable[..., Any], ...] = (
    run_commands.run,
    run_commands.resume,
    look_commands.status,
    look_commands.show,
    look_commands.report,
    proof_commands.evidence,
    proof_commands.verify,
    replay_commands.replay,
    serve_commands.serve,
    diff_commands.diff,
    export_commands.export,
    mirror_commands.mirror,
    chat_commands.chat,
    chat_commands.approve,
    submit_commands.checkout,
    submit_commands.submit,
    mcp_commands.mcp,
    pack_commands.evaluate,
    ablate_command.ablate,
    init_command.init,
    doctor,
)
for _command in COMMANDS:
    app.command(cls=Command)(guarded(_command))
app.command("eval", cls=Command, context_settings={"allow_interspersed_args": False})(
    guarded(eval_commands.run_suite)
)
memory = typer.Typer(
    name="memory", no_args_is_help=True, help="Rebuild the index of what was learned."
)
memory.command("rebuild")(look_commands.rebuild_memory)
for _group in (pack_commands.packs, sandbox, memory):
    _group.rich_markup_mode, _group.info.cls = None, Group
    for _info in _group.registered_commands:
        _info.cls = Command
        if _info.callback is not None:
            _info.callback = guarded(_info.callback)
    app.add_typer(_group)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(version("novum"))
        except PackageNotFoundError:
            print("not installed (running from a checkout)")
        raise typer.Exit


@app.callback()
def _novum(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr.")] = False,
) -> None:
    """An automated AI research lab whose reported progress is progress.

    Example: novum run nanochat --wall 12m
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """Run the command line."""
    app()
