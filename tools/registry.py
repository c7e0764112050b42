"""The tools by name: what a role is offered, as schemas, and how a call is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import isawaitable
from typing import Any

from pydantic import BaseModel, ValidationError

from novum.errors import ToolError
from novum.tools import edit, experiment, files, moves, patch, plan, recall, shell
from novum.tools.desk import Desk
from novum.tools.text import bounded

Json = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """A name, the model of the call and the function that does it (sync or async)."""

    name: str
    call: type[BaseModel]
    function: Callable[[Any, Desk], Any]

    @property
    def schema(self) -> Json:
        """The tool as chat models want it described."""
        return _schema(self.name, self.call)


@cache
def _schema(name: str, call: type[BaseModel]) -> Json:
    parameters = call.model_json_schema()
    text = parameters.pop("description", "")
    parameters.pop("title", None)
    for field in parameters.get("properties", {}).values():
        field.pop("title", None)
    function = {"name": name, "description": text, "parameters": parameters}
    return {"type": "function", "function": function}


def _on_files(function: Callable[[Any, Any], str]) -> Callable[[Any, Desk], str]:
    return lambda call, desk: function(call, desk.need_workspace())


READING = (
    Tool("list_files", files.ListFiles, _on_files(files.list_files)),
    Tool("read_file", files.ReadFile, _on_files(files.read_file)),
    Tool("search_files", files.SearchFiles, _on_files(files.search_files)),
)
WRITING = (
    Tool("write_file", edit.WriteFile, _on_files(edit.write_file)),
    Tool("edit_file", edit.EditFile, _on_files(edit.edit_file)),
    Tool("delete_file", edit.DeleteFile, _on_files(edit.delete_file)),
    Tool("apply_patch", patch.ApplyPatch, _on_files(patch.apply_patch)),
    Tool("apply_move", moves.ApplyMove, moves.apply_move),
    Tool("set_constant", moves.SetConstant, moves.set_constant),
    Tool("merge_candidates", moves.MergeCandidates, moves.merge_candidates),
)
RUNNING = (
    Tool("run_command", shell.RunCommand, shell.run_command),
    Tool("smoke_test", experiment.SmokeTest, experiment.smoke_test),
)
RECALL = Tool("recall", recall.Recall, recall.recall)
CODER_TOOLS = (
    *READING,
    *WRITING,
    *RUNNING,
    RECALL,
    Tool("submit", experiment.Submit, experiment.submit),
    Tool("give_up", experiment.GiveUp, experiment.give_up),
)
PLANNER_TOOLS = (
    RECALL,
    Tool("propose", plan.Propose, plan.propose),
    Tool("nothing_left", plan.SayNothingLeft, plan.nothing_left),
)


def schemas(tools: Iterable[Tool]) -> list[Json]:
    """The tools as chat models want them described."""
    return [tool.schema for tool in tools]


async def carry_out(name: str, args: Mapping[str, Any], tools: Iterable[Tool], desk: Desk) -> str:
    """Carry out one call of a model and return what it should read.

    A wrong name, wrong arguments and a `ToolError` come back as text; anything else is raised.
    """
    known = {tool.name: tool for tool in tools}
    tool = known.get(name)
    if tool is None:
        return f"error: there is no tool {name!r}; there are {', '.join(known)}"
    try:
        result = tool.function(tool.call.model_validate(dict(args)), desk)
        return bounded(str(await result if isawaitable(result) else result))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        return f"error: {name} was called wrongly: {wrong}"
    except ToolError as error:
        return f"error: {error}"
