"""`mcp`: offer a run to coding agents over the Model Context Protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from novum.app.options import Run, Runs


def mcp(
    run: Run = None,
    http: Annotated[bool, typer.Option("--http", help="HTTP on loopback, not stdio.")] = False,
    port: Annotated[int, typer.Option(help="Port for --http.")] = 8765,
    runs: Runs = None,
) -> None:
    """Serve a run to coding agents: they read its records and hand in candidates.

    Example: novum run nanochat --brain external & novum mcp nanochat-1
    """
    from novum.app.mcp_server import make_server
    from novum.app.reading import runs_folder
    from novum.lab.run import find_run

    folder = find_run(runs_folder(runs), run)
    with folder.ledger() as ledger:
        server = make_server(folder, ledger, port=port)
        server.run("streamable-http" if http else "stdio")
