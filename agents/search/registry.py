"""Search policies by name."""

from __future__ import annotations

from collections.abc import Callable

from novum.agents.search.frontier import Frontier
from novum.agents.search.greedy import Greedy
from novum.agents.search.islands import Islands
from novum.agents.search.protocol import SearchPolicy
from novum.agents.search.tree import Tree
from novum.errors import UnknownName

POLICIES: dict[str, Callable[[], SearchPolicy]] = {
    "frontier": Frontier,
    "greedy": Greedy,
    "tree": Tree,
    "islands": Islands,
}


def make_policy(name: str) -> SearchPolicy:
    """The policy of this name.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    if name not in POLICIES:
        raise UnknownName(f"no search policy {name!r}; there is {', '.join(sorted(POLICIES))}")
    return POLICIES[name]()
