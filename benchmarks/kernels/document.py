"""What the four documents of the format have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A frozen model that keeps keys it does not know, so that a file survives reading and
    writing.
    """

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
