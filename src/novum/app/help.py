"""How `--help` looks: plain lines that fit a terminal, and a word for what an option takes."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

TAKES = {
    **dict.fromkeys(("threads", "slots", "experiments", "tokens", "plateau", "trials"), "N"),
    **dict.fromkeys(("event", "seed", "port", "cores", "gpus"), "N"),
    **dict.fromkeys(("wall", "approve_wait", "budget"), "TIME"),
    **dict.fromkeys(("runs", "problems", "repo", "out", "mount", "mirror"), "FOLDER"),
    **dict.fromkeys(("editable", "hidden", "keep", "leave_out"), "GLOB"),
    **dict.fromkeys(("heldout", "check", "build"), "COMMAND"),
    **dict.fromkeys(("hypothesis", "why", "directive"), "TEXT"),
    **dict.fromkeys(("output", "rootfs"), "PATH"),
    **dict.fromkeys(("patch", "openevolve", "grade"), "FILE"),
    "gpu_hours": "HOURS",
    "cost_usd": "USD",
    "target": "VALUE",
    "corpus": "NAME",
    "max_jump": "FRACTION",
    "memory": "WHERE",
    "grep": "WORDS",
    "only": "WORD",
    "base": "IMAGE",
    "otlp": "URL",
    "fork": "EVENT",
    "audit": "NAME=VALUE",
    "guard": "RULE",
    "approve": "plan|run",
    "confirm_trials": "N",
    "noise": "first|needed",
    "policy": "NAME",
    "better": "lower|higher",
    "form": "jsonl|otlp",
    "hybrid": "model|trials",
}
"""By parameter; any other option or argument is called by its own name."""


class Command(TyperCommand):
    """A command whose help names what it takes, not Python's types."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # An example is one line to copy, however long.
        self.help = (self.help or "").replace("\n\nExample:", "\n\n\b\nExample:")
        for param in self.params:
            if getattr(param, "is_flag", False) or param.metavar is not None:
                continue
            name = param.name or ""
            param.metavar = TAKES.get(name, name.upper().replace("_", "-"))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Options, then arguments: what may be left out in brackets."""
        return ["[OPTIONS]", *(_usage(param) for param in _arguments(self, ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options."""
        if arguments := [(a.metavar, a.help or "") for a in _arguments(self, ctx)]:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        others = [p for p in self.get_params(ctx) if not isinstance(p, TyperArgument)]
        records = [p.get_help_record(ctx) for p in others]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])


class Group(TyperGroup):
    """A group whose list of commands is wrapped, not cut."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Every command with the first sentence of its help."""
        names = self.list_commands(ctx)
        commands = [(name, self.get_command(ctx, name)) for name in names]
        with formatter.section("Commands"):
            formatter.write_dl([(n, c.get_short_help_str(limit=200)) for n, c in commands if c])


def _arguments(command: Command, ctx: Any) -> list[TyperArgument]:
    return [p for p in command.get_params(ctx) if isinstance(p, TyperArgument)]


def _usage(argument: TyperArgument) -> str:
    name = f"{argument.metavar}{'' if argument.nargs == 1 else '...'}"
    return name if argument.required else f"[{name}]"
