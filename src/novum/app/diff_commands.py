"""`diff`: two runs side by side."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from novum.app.options import AsJson, Runs


def diff(
    first: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    second: Annotated[str, typer.Argument(help="The run to compare it with.")],
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: settings, ideas tried, verdicts that differ, champions, costs.

    Example: novum diff nanochat-1 nanochat-1-fork-1
    """
    from novum.app.comparison import as_text, compare
    from novum.app.printing import console
    from novum.app.reading import reading

    with reading(first, runs) as a, reading(second, runs) as b:
        found = compare(a, b)
        if as_json:
            print(json.dumps(found.json()))
        else:
            console().print(as_text(found))
