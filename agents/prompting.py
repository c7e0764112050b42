"""Prompts: Markdown beside this module, filled in and bounded."""

from __future__ import annotations

from collections.abc import Sequence
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
    environment.globals["some"] = latest
    source = files("novum.agents").joinpath("prompts", f"{name}.md").read_text()
    return environment.from_string(source)


def latest(names: Sequence[str], limit: int, between: str = ", ") -> str:
    """A list in words, of which only the latest are named where there are more than `limit`."""
    left_out = len(names) - limit
    more = [f"{left_out} earlier ones"] if left_out > 0 else []
    return between.join([*more, *names[-limit:]])


def render(name: str, **values: Any) -> str:
    """A prompt with its values, cut to what a model can be asked to read."""
    return bounded(template(name).render(**values), MAX_PROMPT)
