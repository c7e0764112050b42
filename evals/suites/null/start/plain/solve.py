"""A program of a few lines, so that the static rules have something to read."""

RATE = 0.5
WIDTH = 4


def solve(values: list[float]) -> list[float]:
    return [RATE * value + WIDTH for value in values]
