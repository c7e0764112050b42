"""Options of `run` and `resume`, and the settings they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Profile = Annotated[str | None, typer.Option(help="Size of the benchmark (default: the pack's).")]
Threads = Annotated[int | None, typer.Option(help="Lines of research side by side (default: 2).")]
Slots = Annotated[int | None, typer.Option(help="Trials side by side (default: what fits).")]
Brain = Annotated[
    str | None, typer.Option(help="Who researches: playbook (default), openai:MODEL, ...")
]
Experiments = Annotated[int | None, typer.Option(help="Stop after so many ideas.")]
Wall = Annotated[str | None, typer.Option(help="Stop after this time: 90s, 12m, 8h, 2d.")]
GpuHours = Annotated[float | None, typer.Option(help="Stop after so many GPU hours.")]
Tokens = Annotated[int | None, typer.Option(help="Stop after so many model tokens.")]
Cost = Annotated[float | None, typer.Option("--cost-usd", help="Stop after so much money.")]
Target = Annotated[float | None, typer.Option(help="Stop when the metric reaches this.")]
Plateau = Annotated[int | None, typer.Option(help="Stop after so many ideas without progress.")]
Sandbox = Annotated[
    str | None, typer.Option(help="auto (default), docker, bubblewrap, process (no isolation).")
]
Approve = Annotated[
    str | None, typer.Option(help="Ask a person before each `plan` is coded, or each `run`.")
]
ApproveWait = Annotated[
    str | None, typer.Option(help="Refuse what nobody answered for so long: 30m, 8h.")
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Answer every question with yes, and record that.")
]
Mirror = Annotated[
    Path | None,
    typer.Option(help="Keep a second copy of the run in this folder, on another disk or machine."),
]
Talk = Annotated[
    bool, typer.Option("--chat", help="Talk with the run while it works, in this terminal.")
]
Plain = Annotated[bool, typer.Option("--plain", help="Lines in place of the live view.")]


def given_by(
    threads: int | None,
    slots: int | None,
    brain: str | None,
    experiments: int | None,
    wall: str | None,
    gpu_hours: float | None,
    tokens: int | None,
    cost_usd: float | None,
    target: float | None,
    plateau: int | None,
    sandbox: str | None,
    runs: Path | None,
    approve: str | None,
    approve_wait: str | None,
    yes: bool,
    mirror: Path | None,
) -> dict[str, Any]:
    """What the command line says, in the form of the settings."""
    return {
        "threads": threads,
        "slots": slots,
        "brain": {"default": brain},
        "sandbox": {"kind": sandbox},
        "paths": {"runs": runs, "mirror": mirror},
        "approval": {"ask": approve, "wait_s": seconds(approve_wait), "yes": yes or None},
        "budget": {
            "experiments": experiments,
            "wall_s": seconds(wall),
            "gpu_hours": gpu_hours,
            "tokens": tokens,
            "cost_usd": cost_usd,
            "target": target,
            "plateau": plateau,
        },
    }


def seconds(text: str | None) -> float | None:
    """What a person calls a time, in seconds.

    Raises:
        UsageError: it is none.
    """
    from novum.app.numbers import parse_duration
    from novum.errors import UsageError

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 90s, 12m, 8h, 2d or 1:30:00.") from None
