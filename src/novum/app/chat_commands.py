"""`chat` and `approve`: talk with a run while it works, or before it is resumed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[str | None, typer.Argument(help="Name or folder of a run; the latest if left out.")]
Runs = Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs).")]


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
    """Answer what a run with `--approve` waits for; also while no process works on it.

    Example: novum approve nanochat-1 p0-3 --refuse --why "too dear"
    """
    from novum.app.questions import answer, waiting
    from novum.app.reading import runs_folder
    from novum.lab.run import find_run

    folder = find_run(runs_folder(runs), run)
    with folder.ledger(read_only=show) as ledger:
        if show:
            print(waiting(ledger, folder.archive(read_only=True)))
            return
        print(answer(ledger, id, is_approved=not refuse, why=why))


def chat(
    run: Run = None,
    runs: Runs = None,
) -> None:
    """Look at a run and steer it with slash commands; /help lists them.

    Without a terminal it reads one command a line. What was said is kept in chat.jsonl of the run.

    Example: novum chat nanochat-1
    """
    from novum.app.chat import Chat, Words
    from novum.app.reading import runs_folder
    from novum.lab.run import find_run

    folder = find_run(runs_folder(runs), run)
    with folder.ledger() as ledger:
        talk = Chat(folder, ledger, folder.archive(read_only=True))
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            for line in sys.stdin:
                if line.strip() and not talk.is_over:
                    print(f"> {line.strip()}\n{talk.answer(line)}", flush=True)
            return
        from prompt_toolkit import PromptSession

        print(talk.answer("/status"))
        session: PromptSession[str] = PromptSession(completer=Words(talk))
        while not talk.is_over:
            try:
                line = session.prompt(f"{folder.name}> ")
            except (EOFError, KeyboardInterrupt):
                return
            if line.strip():
                print(talk.answer(line))
