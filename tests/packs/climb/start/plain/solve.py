"""The loss depends on these settings alone."""

WIDTH = 4
RATE = 0.5
DEPTH = 2


def features() -> list[str]:
    found: list[str] = []
    # architecture
    # optimiser
    # schedule
    return found
