"""Amounts with the unit that a reader expects, told by the end of their names."""

from __future__ import annotations


def size(n_bytes: float) -> str:
    """`1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def measured(name: str, value: float) -> str:
    """A value by the unit in its name: `321.4 MB` of `peak_bytes`, `16.2 s` of `cpu_s`."""
    if name.endswith("_bytes"):
        return size(value)
    return f"{value:,.4g} s" if name.endswith("_s") else f"{value:,.6g}"
