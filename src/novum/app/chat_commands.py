"""`chat` and `approve`: talk with a run while it works, or before it is resumed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from novum.app.options import Run, Runs

if TYPE_CHECKING:
    from novum.app.assistant import Assistant
    from novum.app.chat import Chat

MODELS = ("openai", "anthropic", "ollama")
"""Providers whose models answer in words."""
MAX_PATIENCE_S = 60.0
"""How long a person waits for a provider that is busy or down; a run waits longer."""


def approve(
    run: Run = None,
    id: Annotated[
        str, typer.Argument(help="What waits (p0-3); may be left out where it is one thing.")
    ] = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Say no.")] = False,
    why: Annotated[str, typer.Option(help="Kept with the answer; planners read it.")] = "",
    show: Annotated[bool, typer.Option("--list", help="Only show what waits.")] = False,
    runs: Runs = None,
) -> None:
    """Say yes or no to what a run waits for.

    Also while no process works on it; see --approve of `novum run`.

    Example: novum approve nanochat-1 p0-3 --refuse --why "too dear"
    """
    from novum.app.questions import answer, waiting
    from novum.app.reading import runs_folder
    from novum.app.wording import readable
    from novum.lab.run import find_run

    folder = find_run(runs_folder(runs), run)
    with folder.ledger(read_only=show) as ledger:
        if show:
            print(readable(waiting(ledger, folder.archive(read_only=True))))
            return
        print(readable(answer(ledger, id, is_approved=not refuse, why=why)))


def chat(
    run: Run = None,
    brain: Annotated[
        str | None,
        typer.Option(help="Model that answers in words (default: the run's, if it is a model)."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Let the model act without asking you each time.")
    ] = False,
    runs: Runs = None,
) -> None:
    """Look at a run and steer it, in words or by command.

    /help lists the commands. Without a terminal it reads one line at a time. What was said is kept
    in chat.jsonl of the run.

    Example: novum chat nanochat-1 --brain openai:MODEL
    """
    import asyncio

    from novum.app.chat import Chat
    from novum.app.reading import runs_folder
    from novum.app.terminal import converse, converse_by_lines, is_terminal
    from novum.lab.run import find_run

    folder = find_run(runs_folder(runs), run)
    with folder.ledger() as ledger:
        talk = Chat(folder, ledger, folder.archive(read_only=True))
        assistant = make_assistant(talk, brain, yes=yes)
        asyncio.run((converse if is_terminal() else converse_by_lines)(talk, assistant))


def make_assistant(chat: Chat, spec: str | None, *, yes: bool) -> Assistant | None:
    """The assistant that a spec names; without one the run's own model, where it has one.

    Raises:
        UsageError: the model that was named cannot be had, or holds no conversation.
    """
    from novum.errors import UsageError
    from novum.settings import load_settings, restore_settings

    used = restore_settings(chat.run.info.get("settings", {})).brain
    if spec is None and used.default.partition(":")[0] not in MODELS:
        return None
    from novum.agents.brains.registry import make_brain
    from novum.app.assistant import Assistant

    here = load_settings().brain
    # A run keeps its server's address, and never its key.
    settings = here if here.base_url else used.model_copy(update={"api_key": here.api_key})
    patience_s = min(settings.patience_s, MAX_PATIENCE_S)
    settings = settings.model_copy(update={"patience_s": patience_s})
    try:
        name = spec or used.default
        return Assistant(chat, make_brain(name, settings), name, yes=yes)
    except UsageError as error:
        if spec is not None:
            raise
        print(f"no assistant: {error}", file=sys.stderr)
        return None
