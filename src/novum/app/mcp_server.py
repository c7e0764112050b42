"""A run as a Model Context Protocol server: any coding agent researches with it.

The tools look at the records, give out a candidate's files, and hand in changed ones. What is
handed in is tested by the process that works on the run, like any other idea.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from novum.app.chat import Chat
from novum.app.handing import changed_files, hand_in, outcome, pack_of
from novum.errors import NovumError, UsageError
from novum.lab.ledger import Ledger
from novum.lab.records import Kind
from novum.lab.run import RunFolder
from novum.tools.text import bounded
from novum.tools.workspace import Workspace

if TYPE_CHECKING:
    from mcp.server.fastmcp import FastMCP

INSTRUCTIONS = """You research with Novum. Read `task`, look at `status` and `leaderboard`, take
the files of a candidate with `files`, and hand in changed ones with `submit`, saying what you
expect and why. One idea at a time. `wait_for` tells the verdict: a gain counts only when the audit
says so."""
POLL_S = 0.5
MAX_WAIT_S = 3_600.0
MAX_FILE_CHARS = 100_000


def make_server(run: RunFolder, ledger: Ledger) -> FastMCP[Any]:
    """The server of one run.

    Raises:
        UsageError: the package `mcp` is not installed.
    """
    try:
        from mcp.server.fastmcp import FastMCP
        from mcp.server.fastmcp.exceptions import ToolError
    except ImportError as error:
        raise UsageError(
            "the MCP server needs a package that is not installed.\n"
            "Install it with: pip install 'novum[mcp]'"
        ) from error
    server: FastMCP[Any] = FastMCP("novum", INSTRUCTIONS, host="127.0.0.1")
    archive = run.archive(read_only=True)
    chat = Chat(run, ledger, archive)

    def look(name: str, words: str = "") -> str:
        try:
            return bounded(chat.commands[name].run(words))
        except NovumError as error:
            raise ToolError(str(error)) from error

    def tree_of(name: str) -> str:
        """A candidate by the beginning of its id, `best` or `start`."""
        candidates = ledger.candidates()
        if not candidates:
            raise ToolError("the run has no candidates yet")
        if name == "start":
            return candidates[0].tree
        if name == "best":
            champion = ledger.champion()
            good = chat.good()
            return champion[0] if champion else good[0].tree if good else candidates[0].tree
        found = [c.tree for c in candidates if len(name) > 3 and c.tree.startswith(name)]
        if len(found) != 1:
            raise ToolError(f"no candidate, or not one, begins with {name!r}; see `leaderboard`")
        return found[0]

    @server.tool()
    def task() -> str:
        """What the benchmark asks for, and which files a candidate may change."""
        pack = pack_of(run)
        return f"{pack.task}\n\nEditable files: {', '.join(pack.manifest.editable)}"

    @server.tool()
    def status() -> str:
        """Where the run stands: counts, champion, latest proposals, directives."""
        return look("status")

    @server.tool()
    def leaderboard() -> str:
        """The best candidates, with ids, and what was shown of them."""
        return look("leaderboard")

    @server.tool()
    def show(id: str) -> str:
        """A proposal (p0-3), trial (t7) or candidate with its change, verdict and evidence."""
        return look("show", id)

    @server.tool()
    def files(candidate: str = "best") -> dict[str, str]:
        """The text files of a candidate: the beginning of its id, `best` or `start`."""
        found = {}
        for name, content in archive.files(tree_of(candidate)).items():
            if len(content) <= MAX_FILE_CHARS and b"\0" not in content:
                found[name] = content.decode(errors="replace")
        return found

    @server.tool()
    def submit(
        hypothesis: str,
        files: dict[str, str],
        parent: str = "best",
        kind: str = str(Kind.ARCHITECTURE),
    ) -> str:
        """Hand in a candidate: the new text of each changed file. Returns an id for `wait_for`."""
        tree = tree_of(parent)

        def change(workspace: Workspace) -> None:
            for name, text in files.items():
                workspace.write_text(name, text)

        try:
            whole = changed_files(pack_of(run), archive.files(tree), change)
            id = hand_in(
                run,
                ledger,
                whole,
                parent=tree,
                hypothesis=hypothesis,
                kind=kind,
                author="mcp",
            )
        except NovumError as error:
            raise ToolError(str(error)) from error
        hint = "" if run.holder() else "; no process works on the run now, start `novum resume`"
        return f"{id}{hint}"

    @server.tool()
    async def wait_for(id: str, timeout_s: float = 600.0) -> dict[str, str]:
        """Wait for what becomes of an idea that was handed in: verdict, or why it ended.

        What looked good is measured again, and the best candidate tested at the end of the run on
        sealed data: call again later, and `later` says how that went.
        """
        until = time.monotonic() + min(max(timeout_s, 0.0), MAX_WAIT_S)
        while not (found := outcome(ledger, id)):
            if time.monotonic() >= until:
                return {"open": "still under test; call again"}
            await asyncio.sleep(POLL_S)
        return found

    return server
