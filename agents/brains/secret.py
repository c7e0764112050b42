"""Keys: where they come from, and how they stay out of everything that is written down."""

from __future__ import annotations

import json
import os
from typing import Any

from langchain_core.messages import AIMessage, messages_from_dict, messages_to_dict
from pydantic import SecretStr

VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Where a provider's key is looked for when the settings hold none."""
HIDDEN = "[key]"
MIN_LENGTH = 6
"""Shorter keys are placeholders of local servers (`none`, `x`); hiding them would hide words."""


def key_of(provider: str, given: SecretStr | None) -> SecretStr | None:
    """The key for a provider: the settings', or its own variable's; `None` when there is none."""
    if given is not None:
        return given
    value = os.environ.get(VARIABLES.get(provider, ""))
    return SecretStr(value) if value else None


def hide(text: str, key: SecretStr | None) -> str:
    """`text` without the key."""
    value = key.get_secret_value() if key is not None else ""
    return text.replace(value, HIDDEN) if len(value) >= MIN_LENGTH else text


def split_safe(text: str, key: SecretStr | None) -> tuple[str, str]:
    """Text of a stream that may be shown, and its end that might be the beginning of a key."""
    value = key.get_secret_value() if key is not None else ""
    text = hide(text, key)
    if len(value) < MIN_LENGTH:
        return text, ""
    for n in range(min(len(value) - 1, len(text)), 0, -1):
        if value.startswith(text[-n:]):
            return text[:-n], text[-n:]
    return text, ""


def hide_in(answer: AIMessage, key: SecretStr | None) -> AIMessage:
    """An answer without the key: a server may quote what it was sent."""
    value = key.get_secret_value() if key is not None else ""
    if len(value) < MIN_LENGTH:
        return answer
    (kept,) = messages_to_dict([answer])
    if value not in json.dumps(kept, ensure_ascii=False, default=str):
        return answer
    (clean,) = messages_from_dict([_without(kept, value)])
    assert isinstance(clean, AIMessage)
    return clean


def _without(value: Any, key: str) -> Any:
    match value:
        case str():
            return value.replace(key, HIDDEN)
        case dict():
            return {_without(k, key): _without(v, key) for k, v in value.items()}
        case list():
            return [_without(v, key) for v in value]
    return value
