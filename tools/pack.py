"""The tools of a pack as tools of a researcher."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from novum.benchmarks.pack import Pack
from novum.benchmarks.toolbox import PackTool, toolbox_of
from novum.errors import PackError
from novum.tools.desk import Desk
from novum.tools.registry import CODER_TOOLS, Tool


def coder_tools(pack: Pack) -> tuple[Tool, ...]:
    """What a coder on this pack is offered: the tools of every pack, then the pack's own.

    Raises:
        PackError: its `tools.py` is malformed, or takes a name that there is already.
    """
    own = toolbox_of(pack).tools
    taken = {tool.name for tool in CODER_TOOLS} & {tool.name for tool in own}
    if taken:
        raise PackError(f"pack {pack.id}: its tools cannot be called {', '.join(sorted(taken))}")
    return (*CODER_TOOLS, *(Tool(tool.name, tool.call, _on_bench(tool)) for tool in own))


def _on_bench(tool: PackTool) -> Callable[[Any, Desk], Awaitable[str]]:
    async def use(call: Any, desk: Desk) -> str:
        assert desk.bench is not None  # a coder's desk always has one
        return await desk.bench(tool, call, desk.need_workspace().snapshot().files)

    return use
