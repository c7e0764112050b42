"""A small chart in a terminal, drawn with braille dots: eight to a character."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.text import Text

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800


@dataclass
class Chart:
    """A frame of `width` x `height` characters over ranges of x and y; y grows upwards."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    cells: dict[tuple[int, int], tuple[int, str]] = field(default_factory=dict)

    def dot(self, x: float, y: float, style: str) -> None:
        """One dot; outside of the frame nothing is drawn."""
        place = self._place(x, y)
        if place is not None:
            self._set(*place, style)

    def steps(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """A line that keeps its value until the next point, and on to the right edge."""
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], (self.x[1], math.nan)], strict=True):
            self.level(y0, style, x0, x1)
            if not math.isnan(y1):
                self._vertical(x1, y0, y1, style)

    def level(
        self, y: float, style: str, x0: float | None = None, x1: float | None = None, every: int = 1
    ) -> None:
        """A horizontal line, dotted when `every` is over 1."""
        a = self._place(self.x[0] if x0 is None else x0, y)
        b = self._place(self.x[1] if x1 is None else x1, y)
        if a is None or b is None:
            return
        for column in range(a[0], b[0] + 1, every):
            self._set(column, a[1], style)

    def lines(self) -> Iterable[Text]:
        """The rows, top first."""
        for row in range(self.height):
            text = Text()
            for column in range(self.width):
                bits, style = self.cells.get((column, row), (0, ""))
                text.append(chr(BLANK + bits) if bits else " ", style)
            yield text

    def _vertical(self, x: float, y0: float, y1: float, style: str) -> None:
        a, b = self._place(x, y0), self._place(x, y1)
        if a is None or b is None:
            return
        for row in range(min(a[1], b[1]), max(a[1], b[1]) + 1):
            self._set(a[0], row, style)

    def _place(self, x: float, y: float) -> tuple[int, int] | None:
        if math.isnan(y) or not (self.x[0] <= x <= self.x[1] and self.y[0] <= y <= self.y[1]):
            return None
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        column = min(int(across * self.width * 2), self.width * 2 - 1)
        row = min(int((1 - up) * self.height * 4), self.height * 4 - 1)
        return column, row

    def _set(self, column: int, row: int, style: str) -> None:
        cell = (column // 2, row // 4)
        bits, old = self.cells.get(cell, (0, style))
        self.cells[cell] = (bits | DOTS[row % 4][column % 2], style or old)
