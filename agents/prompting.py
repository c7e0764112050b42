"""Prompts: Markdown beside this module, filled in and bounded."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from novum.tools.text import bounded

if TYPE_CHECKING:
    from jinja2 import Template

MAX_PROMPT = 40_000
MAX_TASK = 12_000


@cache
def template(name: str) -> Template:
    """The prompt `prompts/NAME.md`; a name that is not given a value is an error."""
    from jinja2 import Environment, StrictUndefined

    # Prompts are Markdown for a model, not HTML: nothing is to be escaped.
    environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=False)
    environment.globals["pct"] = lambda x: f"{x:+.2%}"
    source = files("novum.agents").joinpath("prompts", f"{name}.md").read_text()
    return environment.from_string(source)


def render(name: str, **values: Any) -> str:
    """A prompt with its values, cut to what a model can be asked to read."""
    return bounded(template(name).render(**values), MAX_PROMPT)
