"""The console of every command. To it, what records say is text and never markup."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """A console on standard output; lines are as long as they are where nobody sits.

    A model may write `x[/]` in a hypothesis. Rich takes that for a closing tag and raises.
    """
    from rich.console import Console

    return Console(markup=False, highlight=False, soft_wrap=not sys.stdout.isatty())
