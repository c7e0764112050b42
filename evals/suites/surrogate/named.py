"""The benchmarks with a known truth by name: the simulated ones and the measured one."""

from __future__ import annotations

from novum.evals.suites.simulated.landscapes import Truth, landscapes
from novum.evals.suites.surrogate.landscape import NAME, Surrogate


def names() -> list[str]:
    """Names of all benchmarks."""
    return [*(x.name for x in landscapes(0)), NAME]


def truth(name: str, repeat: int) -> Truth:
    """The benchmark of a name; a simulated one is another for each repeat."""
    if name == NAME:
        return Surrogate(repeat)
    return next(x for x in landscapes(repeat) if x.name == name)
