"""The tools that a pack brings for its researchers: its `tools.py`.

    TOOLS = (("profile", Profile, profile),)  # name, pydantic model of the call, function

A function takes the call and a bench, and returns what the researcher reads. The bench holds the
pack's prepared grader, the files of the workspace as they are now, and a way to start processes in
the sandbox, on a slot like a trial's. A class `Bench` of the module takes the place of `ToolBench`;
it is made with the same three arguments. A tool changes nothing and decides nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from novum.benchmarks.harness.scratch import lay_out
from novum.benchmarks.harness.stages import python_variables
from novum.benchmarks.pack import Pack, load_module
from novum.benchmarks.protocol import Grader
from novum.errors import PackError
from novum.sandboxes.protocol import Confinement, Exit, Limits, Mount, SandboxedProcess

Launch = Callable[[Confinement], SandboxedProcess]


class PackTool(NamedTuple):
    """One tool of a pack."""

    name: str
    call: type[BaseModel]
    """Its docstring and the descriptions of its fields are what a researcher reads."""
    function: Callable[[Any, Any], str]
    """Raises `ToolError` for a call that cannot be done; the researcher reads the message."""


@dataclass(frozen=True)
class ToolBench:
    """What a tool works with."""

    grader: Grader
    files: Mapping[str, bytes]
    """The researcher's files as they are now."""
    launch: Launch
    """Starts a process in the sandbox; it is killed at the end of the call."""

    def run(
        self, argv: Sequence[str], timeout_s: float = 60, extra: Mapping[str, bytes] | None = None
    ) -> Exit:
        """Run a command in a read-only copy of the files, with `extra` ones beside them."""
        with tempfile.TemporaryDirectory(prefix="novum-tool-") as parent:
            folder = Path(parent) / "workspace"
            lay_out(folder, {**self.files, **(extra or {})})
            confinement = Confinement(
                argv=tuple(argv),
                cwd=folder,
                mounts=(Mount(folder, folder),),
                env=python_variables(1),
                limits=Limits(wall_s=timeout_s),
            )
            ended = self.launch(confinement).wait()
        assert ended is not None  # without a timeout, waiting ends with the process
        return ended


class Toolbox(NamedTuple):
    """What a pack's `tools.py` offers."""

    tools: tuple[PackTool, ...] = ()
    bench: Callable[[Grader, Mapping[str, bytes], Launch], Any] = ToolBench


def toolbox_of(pack: Pack) -> Toolbox:
    """The tools of a pack; none where it has no `tools.py`.

    Raises:
        PackError: `TOOLS` is missing or malformed.
    """
    path = pack.folder / "tools.py"
    return _toolbox(pack.id, path, path.stat().st_mtime_ns) if path.is_file() else Toolbox()


@lru_cache(maxsize=8)
def _toolbox(pack: str, path: Path, _changed_ns: int) -> Toolbox:
    module = load_module(path, f"novum_pack_{pack.replace('-', '_')}_tools")
    try:
        tools = tuple(PackTool(*entry) for entry in module.TOOLS)
    except (AttributeError, TypeError) as error:
        raise PackError(f"{path}: TOOLS must list (name, call, function): {error}") from error
    for tool in tools:
        is_model = isinstance(tool.call, type) and issubclass(tool.call, BaseModel)
        if not str(tool.name).isidentifier() or not is_model or not callable(tool.function):
            raise PackError(f"{path}: {tool.name!r} is no tool: a name, a model and a function")
        if not (tool.call.__doc__ or "").strip():
            raise PackError(f"{path}: the call of {tool.name} has no docstring to read")
    if len({tool.name for tool in tools}) < len(tools):
        raise PackError(f"{path}: two tools have one name")
    return Toolbox(tools, getattr(module, "Bench", ToolBench))
