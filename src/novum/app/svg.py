"""Small pieces of SVG: a frame with axes, and marks in it. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 40


@dataclass
class Frame:
    """A plot of `width` x `height` pixels over ranges of x and y; y grows upwards."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = LEFT
    parts: list[str] = field(default_factory=list)

    def px(self, x: float) -> float:
        """Pixel of an x."""
        low, high = self.x
        return self.left + (x - low) / ((high - low) or 1) * (self.width - self.left - RIGHT)

    def py(self, y: float) -> float:
        """Pixel of a y."""
        low, high = self.y
        return self.height - BOTTOM - (y - low) / ((high - low) or 1) * (self.height - TOP - BOTTOM)

    def axes(
        self,
        x_label: str,
        y_label: str = "",
        show_y: Callable[[float], str] | None = None,
        show_x: Callable[[float], str] | None = None,
    ) -> None:
        """Grid lines, ticks and labels."""
        bottom = self.height - BOTTOM
        for value in ticks(*self.x, 6):
            at, text = self.px(value), (show_x or plain)(value)
            self.add(f'<text class="tick" x="{at:.1f}" y="{bottom + 16:.0f}">{escape(text)}</text>')
        if show_y is not None:
            for value in ticks(*self.y, 5):
                at = self.py(value)
                self.add(
                    f'<line class="grid" x1="{self.left}" x2="{self.width - RIGHT}" '
                    f'y1="{at:.1f}" y2="{at:.1f}"/>'
                    f'<text class="tick end" x="{self.left - 8}" y="{at + 4:.1f}">'
                    f"{escape(show_y(value))}</text>"
                )
        middle = (self.left + self.width - RIGHT) / 2
        self.add(
            f'<text class="label" x="{middle:.0f}" y="{self.height - 6}">{escape(x_label)}</text>'
        )
        if y_label:
            self.add(
                f'<text class="label" transform="translate(14 {(TOP + bottom) / 2:.0f}) '
                f'rotate(-90)">{escape(y_label)}</text>'
            )

    def circle(self, x: float, y: float, r: float, style: str, tip: str = "") -> None:
        """A dot with a tooltip."""
        self.add(
            f'<circle class="{style}" cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="{r}">'
            f"{_tip(tip)}</circle>"
        )

    def line(self, x0: float, y0: float, x1: float, y1: float, style: str, tip: str = "") -> None:
        """A straight line."""
        self.add(
            f'<line class="{style}" x1="{self.px(x0):.1f}" y1="{self.py(y0):.1f}" '
            f'x2="{self.px(x1):.1f}" y2="{self.py(y1):.1f}">{_tip(tip)}</line>'
        )

    def band(self, x0: float, x1: float, low: float, high: float, style: str) -> None:
        """A filled rectangle."""
        top, bottom = self.py(min(high, self.y[1])), self.py(max(low, self.y[0]))
        a, b = self.px(x0), self.px(x1)
        self.add(
            f'<rect class="{style}" x="{a:.1f}" y="{top:.1f}" width="{max(0, b - a):.1f}" '
            f'height="{max(0, bottom - top):.1f}"/>'
        )

    def text(
        self, x: float, y: float, words: str, style: str, dx: float = 0, dy: float = 0
    ) -> None:
        """Words at a place of the plot."""
        self.add(
            f'<text class="{style}" x="{self.px(x) + dx:.1f}" y="{self.py(y) + dy:.1f}">'
            f"{escape(words)}</text>"
        )

    def add(self, markup: str) -> None:
        """Any SVG in pixels."""
        self.parts.append(markup)

    def svg(self, title: str) -> Markup:
        """The picture."""
        return picture("".join(self.parts), self.width, self.height, title)


def picture(inside: str, width: float, height: float, title: str) -> Markup:
    """SVG in a frame that a narrow page scrolls, also by keys, in place of shrinking its words."""
    name = escape(title, quote=True)
    return Markup(
        f'<div class="plot" tabindex="0" role="group" aria-label="{name}">'
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{name}">'
        f"{inside}</svg></div>"
    )


def ticks(low: float, high: float, n: int) -> Sequence[float]:
    """About `n` round values between `low` and `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


def plain(value: float) -> str:
    """A tick's number in no more digits than it needs."""
    return f"{value:g}"


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
