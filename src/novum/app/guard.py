"""What the user sees when a command fails: what happened, the evidence, what to do. No traceback.

A traceback of ours goes into a file of the run's folder, or of the working folder without one.
"""

from __future__ import annotations

import functools
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from novum.app.faults import actionable
from novum.app.wording import readable
from novum.errors import NovumError

INTERRUPTED = 130
P = ParamSpec("P")
T = TypeVar("T")

_folder = Path()


def bugs_go_to(folder: Path) -> None:
    """From now on a traceback is written into this folder."""
    global _folder
    _folder = folder


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Wrap a command: known errors become messages with their exit code, bugs become files."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            sys.stdout = None  # whoever read our output has gone; nothing is left to say
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            raise typer.Exit(_told(actionable(error))) from error

    return run


def _told(error: Exception) -> int:
    """Say what happened; returns the exit code."""
    if isinstance(error, NovumError):
        _say(f"{type(error).__name__}: {error}")
        return error.exit_code
    place = _write_bug(error)
    _say(
        f"a bug of Novum's: {type(error).__name__}: {error}\n"
        f"The traceback is {place}. Records are safe; please report it with that."
    )
    return 1


def _say(text: str) -> None:
    print(readable(text), file=sys.stderr)


def _write_bug(error: Exception) -> str:
    """Write the traceback down; says where it is."""
    path = _folder / f"novum-bug-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    text = " ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error))
    try:
        path.write_text(text)
    except OSError:
        sys.stderr.write(text)
        return "above"
    return f"in {path}"
