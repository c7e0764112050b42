"""The chat on a terminal, or on a pipe: reads lines, prints answers as they come."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from novum.app.chat import Chat
from novum.errors import NovumError

if TYPE_CHECKING:
    from novum.app.assistant import Assistant


def is_terminal() -> bool:
    """Whether a person sits there."""
    return sys.stdin.isatty() and sys.stdout.isatty()


async def converse(chat: Chat, assistant: Assistant | None, *, beside: bool = False) -> None:
    """Talk until the person leaves.

    `beside` is for a chat in the process that does the research: Ctrl-C there ends the run, as it
    does without a chat, and lines of the run are printed above the prompt.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.patch_stdout import patch_stdout

    from novum.app.completion import Words

    session: PromptSession[str] = PromptSession(completer=Words(chat))
    if assistant is not None:
        assistant.confirm = confirm
    with patch_stdout() if beside else nullcontext():
        print(chat.answer("/status"))
        while not chat.is_over:
            try:
                # Its own handler of Ctrl-C would take the place of the run's, and not give it back.
                line = await session.prompt_async(f"{chat.run.name}> ", handle_sigint=False)
            except EOFError:
                return
            except KeyboardInterrupt:
                if beside:
                    os.kill(os.getpid(), signal.SIGINT)
                return
            if line.strip():
                await say_answer(chat, assistant, line, is_ours=not beside)


async def converse_by_lines(chat: Chat, assistant: Assistant | None) -> None:
    """Answer each line of standard input: for pipes and scripts."""
    for line in sys.stdin:
        if chat.is_over:
            return
        if line.strip():
            print(f"> {line.strip()}", flush=True)
            await say_answer(chat, assistant, line)


async def say_answer(
    chat: Chat, assistant: Assistant | None, line: str, *, is_ours: bool = False
) -> None:
    """Answer one line: a command at once, words by the assistant as they come.

    Where Ctrl-C `is_ours`, it ends the answer and not the chat.
    """
    if assistant is None or line.lstrip().startswith("/"):
        print(chat.answer(line), flush=True)
        return
    from novum.app.assistant import NO_CONVERSATION

    task = asyncio.ensure_future(assistant.answer(line.strip(), _write))
    loop = asyncio.get_running_loop()
    if is_ours:
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await task
        print(flush=True)
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
        print("\n(interrupted)", flush=True)
    except NO_CONVERSATION as error:
        print(f"\n{error}\nThe commands work without a model; /help lists them.", flush=True)
    except NovumError as error:
        print(f"\n{error}", flush=True)
    finally:
        if is_ours:
            loop.remove_signal_handler(signal.SIGINT)


async def confirm(question: str) -> bool:
    """Ask the person whether to change something; anything but a yes is a no."""
    from prompt_toolkit import PromptSession

    asking: PromptSession[str] = PromptSession()
    try:
        said = await asking.prompt_async(f"\n{question}   do it? [y/N] ", handle_sigint=False)
    except (EOFError, KeyboardInterrupt):
        return False
    return said.strip().lower() in ("y", "yes")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
