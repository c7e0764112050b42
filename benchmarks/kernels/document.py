"""What the four documents of the format have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Document(BaseModel):
    """A frozen model that keeps keys it does not know, so that a file survives reading and
    writing.
    """

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


def plainly(error: Exception) -> str:
    """What is wrong with a file, without what pydantic says around it."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = []
    for fault in error.errors(include_url=False, include_input=False):
        where = ".".join(map(str, fault["loc"]))
        said = fault["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {said}" if where else said)
    return "; ".join(found)
