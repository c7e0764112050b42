"""Brains by their spec: `playbook`, `scripted`, `PROVIDER:MODEL`.

A provider is a function from the words after the colon to a chat model; `register` adds one.
Whatever needs a package of its own imports it inside that function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from novum.errors import UnknownName

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

Maker = Callable[[str], "BaseChatModel"]


def _playbook(words: str) -> BaseChatModel:
    from novum.agents.brains.playbook import PlaybookModel

    return PlaybookModel()


def _scripted(words: str) -> BaseChatModel:
    """`scripted:FILE`: answers from JSON lines `{"text": ..., "calls": [[name, args], ...]}`."""
    import json
    from pathlib import Path

    from novum.agents.brains.scripted import ScriptedModel, calls

    try:
        lines = [json.loads(x) for x in Path(words).read_text().splitlines() if x.strip()]
    except (OSError, ValueError) as error:
        raise UnknownName(f"brain scripted:{words}: cannot read the script: {error}") from error
    return ScriptedModel(
        answers=[
            calls(*((n, a) for n, a in x.get("calls", ())), text=x.get("text", "")) for x in lines
        ]
    )


MAKERS: dict[str, Maker] = {"playbook": _playbook, "scripted": _scripted}


def register(provider: str, maker: Maker) -> None:
    """Add a provider, or replace it."""
    MAKERS[provider] = maker


def make_brain(spec: str) -> BaseChatModel:
    """The brain that a spec names.

    Raises:
        UnknownName: there is no such provider; the message lists those there are.
    """
    provider, _, words = spec.partition(":")
    maker = MAKERS.get(provider)
    if maker is None:
        raise UnknownName(f"no brain {spec!r}; there is {', '.join(sorted(MAKERS))}")
    return maker(words)
