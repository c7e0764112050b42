"""Signs, names and amounts that every view writes alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from novum.app.numbers import duration

UNUSUAL = re.compile(r"[^\n\t -~]")
"""What is looked at more closely; most text is plain and long."""
MARKS = {
    "confirmed": ("✔", "bold green"),
    "promising": ("▲", "green"),
    "inconclusive": ("○", "yellow"),
    "noise": ("·", "dim"),
    "regression": ("▼", "red"),
    "missed": ("◇", "red"),
    "hack": ("✖", "bold red"),
    "invalid": ("✖", "red"),
    "quarantined": ("!", "bold yellow"),
    "dropped": ("–", "dim"),
}
"""Sign and style of each verdict: the same in every view."""
NAMES = {
    "experiments": "ideas",
    "wall_s": "time",
    "gpu_hours": "GPU",
    "tokens": "tokens",
    "cost_usd": "USD",
}
"""Limits of a run, in the order of the views."""


def readable(text: str) -> str:
    """Text without what could command a terminal or turn the order of what follows."""
    return UNUSUAL.sub(lambda c: c[0] if c[0].isprintable() else "\N{REPLACEMENT CHARACTER}", text)


def benchmark_of(info: Mapping[str, Any]) -> str:
    """What a run works on: `nanochat, profile cpu`, or `nanochat on text:PATH, profile cpu`."""
    other = str(info.get("settings", {}).get("benchmark", "")).partition(":")[2]
    named = f"{info.get('benchmark')} on {other}" if other else str(info.get("benchmark"))
    return f"{named}, profile {info.get('profile')}"


def one_line(text: str) -> str:
    """A text without line breaks or control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def used_of(name: str, amount: float, limit: float) -> str:
    """`12:05 of 48:00`; over the limit `48:00 + 3:59 to finish`: what ran then is not cut off."""
    if amount <= limit:
        return f"{_amount(name, amount)} of {_amount(name, limit)}"
    return f"{_amount(name, limit)} + {_amount(name, amount - limit)} to finish"


def _amount(name: str, value: float) -> str:
    if name == "wall_s":
        return duration(value)
    return f"{value:,.0f}" if name in ("experiments", "tokens") else f"{value:.2f}"
