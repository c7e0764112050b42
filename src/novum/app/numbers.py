"""Numbers as people read them: a metric with its digits, a gain with its sign, a duration."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from novum.lab.records import Better, Json


@dataclass(frozen=True, slots=True)
class MetricName:
    """What a run measures, as its folder says; enough to show it without the pack."""

    name: str = "metric"
    unit: str = ""
    better: Better = "lower"
    digits: int = 4
    self_reported: bool = False

    @classmethod
    def of(cls, info: Json) -> MetricName:
        """From the `metric` table of run.toml."""
        known = {k: v for k, v in info.get("metric", {}).items() if k in cls.__slots__}
        return cls(**known)

    @property
    def sign(self) -> int:
        """What a difference is multiplied with so that positive is better."""
        return -1 if self.better == "lower" else 1

    def is_better(self, a: float, b: float) -> bool:
        """Whether `a` is a better value than `b`."""
        return self.sign * (a - b) > 0

    def show(self, value: float | None, *, unit: bool = False) -> str:
        """A value with the digits that matter."""
        if value is None or math.isnan(value):
            return "–"
        text = f"{value:.{self.digits}f}"
        return f"{text} {self.unit}" if unit and self.unit else text

    def label(self) -> str:
        """Name, and whether the number is only what the candidate says."""
        return self.name + (" [self-reported]" if self.self_reported else "")

    def title(self) -> str:
        """Name and unit, and whether the number is only what the candidate says."""
        unit = f" ({self.unit})" if self.unit and self.unit != self.name else ""
        return self.name + unit + (" [self-reported]" if self.self_reported else "")


def percent(fraction: float | None, digits: int = 1) -> str:
    """`+3.1 %`; a minus sign that is one."""
    if fraction is None or math.isnan(fraction):
        return "–"
    return f"{100 * fraction:+.{digits}f} %".replace("-", "−")


def better_by(fraction: float | None) -> str:
    """`3.1 % better` or `0.4 % worse`."""
    if fraction is None or math.isnan(fraction):
        return "by an unknown amount"
    return f"{100 * abs(fraction):.1f} % {'better' if fraction >= 0 else 'worse'}"


def percent_range(interval: tuple[float, float] | None, digits: int = 1) -> str:
    """`+1.0 to +5.2 %`, an open side in words."""
    if interval is None:
        return ""
    low, high = interval
    if math.isinf(high):
        return f"at least {percent(low, digits)}"
    if math.isinf(low):
        return f"at most {percent(high, digits)}"
    return f"{percent(low, digits)[:-2]} to {percent(high, digits)}"


def duration(seconds: float) -> str:
    """`43 s`, `12:05`, `3:04:05`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def parse_duration(text: str) -> float:
    """Seconds of `90`, `90s`, `12m`, `1.5h`, `2d` or `1:30:00`. Raises `ValueError`."""
    text = text.strip().lower()
    if ":" in text:
        total = 0.0
        for part in text.split(":"):
            total = total * 60 + float(part)
        return total
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text and text[-1] in units:
        return float(text[:-1]) * units[text[-1]]
    return float(text)


def moment(at_s: float) -> str:
    """A time of day with its date, local."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
