"""Tables of settings, as TOML gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables as one: what `above` says counts, and tables within them are treated alike."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = laid_over(old, value)
        merged[name] = value
    return merged
