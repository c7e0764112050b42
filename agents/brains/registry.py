"""Brains by their spec: `playbook`, `scripted`, `PROVIDER:MODEL`.

A provider is a function from the words after the colon, and the settings, to a chat model;
`register` adds one. Whatever needs a package of its own imports it inside that function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from novum.agents.brains.ensemble import Brain, members, seat
from novum.errors import UnknownName, UsageError
from novum.settings import BrainSettings, Role

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

Maker = Callable[[str, BrainSettings], "BaseChatModel"]


def _playbook(words: str, settings: BrainSettings) -> BaseChatModel:
    from novum.agents.brains.playbook import PlaybookModel

    return PlaybookModel()


def _scripted(words: str, settings: BrainSettings) -> BaseChatModel:
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


def _external(words: str, settings: BrainSettings) -> BaseChatModel:
    """`external`: ideas are handed in from outside; moves of the playbook are coded as usual."""
    from novum.agents.brains.playbook import PlaybookModel

    return PlaybookModel()


def _recorded(words: str, settings: BrainSettings) -> BaseChatModel:
    """`recorded:RUN`: the answers of an earlier run."""
    from novum.agents.brains.recorded import from_run

    return from_run(words)


def _provider(name: str) -> Maker:
    def make(words: str, settings: BrainSettings) -> BaseChatModel:
        from novum.agents.brains.providers import make_language_model

        return make_language_model(name, words, settings)

    return make


PROVIDERS = ("openai", "anthropic", "ollama")
MAKERS: dict[str, Maker] = {
    "playbook": _playbook,
    "scripted": _scripted,
    "recorded": _recorded,
    "external": _external,
    **{name: _provider(name) for name in PROVIDERS},
}


def register(provider: str, maker: Maker) -> None:
    """Add a provider, or replace it."""
    MAKERS[provider] = maker


def make_brain(spec: str, settings: BrainSettings | None = None) -> BaseChatModel:
    """The brain that a spec names.

    Raises:
        UnknownName: there is no such provider; the message lists those there are.
        UsageError: its package or its key is missing.
    """
    provider, _, words = spec.partition(":")
    maker = MAKERS.get(provider)
    if maker is None:
        raise UnknownName(f"no brain {spec!r}; there is {', '.join(sorted(MAKERS))}")
    return maker(words, settings or BrainSettings())


def make_brains(
    names: Mapping[Role, str], settings: BrainSettings, cost_limit: float | None
) -> dict[str, Brain]:
    """The brain of each role; roles with the same spec share one, and so its rate limit.

    A spec with commas (`openai:A,anthropic:B`) is an ensemble.

    Raises:
        UsageError: money is limited, and what a model costs is not known; or an ensemble holds
            what cannot share a role.
    """
    specs = {part for spec in names.values() for part in members(spec) or (spec,)}
    refuse_mixed(names)
    made = {spec: make_brain(spec, settings) for spec in specs}
    for spec in made:
        if cost_limit is None or spec.partition(":")[0] not in PROVIDERS:
            continue
        if spec not in settings.prices:
            raise UsageError(
                f"a limit of {cost_limit:g} USD cannot be kept: the price of {spec} is not known.\n"
                f'Say it in novum.toml: [brain.prices] "{spec}" = [USD a million tokens in, out], '
                "or limit tokens instead."
            )
    return {role: seat(spec, made) for role, spec in names.items()}


def refuse_mixed(names: Mapping[Role, str]) -> None:
    """Refuse ensembles of what cannot share a role.

    Raises:
        UsageError: outsiders or recordings in an ensemble, the same model twice, or several
            reviewers.
    """
    for role, spec in names.items():
        parts = members(spec)
        if len(parts) < 2:
            continue
        kinds = {part.partition(":")[0] for part in parts}
        if wrong := sorted(kinds & {"external", "recorded"}):
            raise UsageError(f"brain {spec}: {wrong[0]} plays a role alone, not in an ensemble.")
        if len(set(parts)) < len(parts):
            raise UsageError(f"brain {spec}: an ensemble names each model once.")
        if role == "auditor":
            raise UsageError(f"brain {spec}: one model reviews changes, not an ensemble.")
