"""Always build on the best: keep what won, drop what did not."""

from __future__ import annotations

from random import Random

from novum.agents.search.findings import Findings
from novum.agents.search.protocol import Choice


class Greedy:
    """Every thread improves the current head."""

    name = "greedy"
    race_at = 0.0

    def final_set(self, findings: Findings) -> tuple[str, ...] | None:
        """What was measured as it is."""
        return None

    def choose(self, findings: Findings, thread: int, rng: Random) -> Choice:
        """Improve the head."""
        return Choice("improve", (findings.head.tree,))
