"""`mcp`: offer a run to coding agents over the Model Context Protocol."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novum.app.options import Run, Runs
from novum.app.ports import HOST, MCP, bound

if TYPE_CHECKING:
    from mcp.server.fastmcp import FastMCP


def mcp(
    run: Run = None,
    http: Annotated[bool, typer.Option("--http", help="HTTP on loopback, not stdio.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for --http; 0 takes a free one.")
    ] = MCP,
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
        server = make_server(folder, ledger)
        if http:
            _serve(server, folder.name, port)
        else:
            server.run("stdio")


def _serve(server: FastMCP[Any], name: str, port: int) -> None:
    """Answer over HTTP until somebody presses Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        server.streamable_http_app(), log_level="warning", timeout_graceful_shutdown=1
    )
    with closing(bound(port)) as door:
        at = door.getsockname()[1]
        path = server.settings.streamable_http_path
        print(f"{name} at http://{HOST}:{at}{path} (Ctrl-C ends)", file=sys.stderr)
        uvicorn.Server(config).run(sockets=[door])
