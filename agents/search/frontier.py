"""The default policy: draw which known ideas to carry, and try new ideas on top of them.

Every trial measures all ideas that its candidate carries, so what is believed of each rests on many
trials (`effects`). For each idea one effect is drawn from its posterior; those drawn above zero are
carried (Thompson sampling over sets of ideas). A harmful idea that got lucky is left out of some
later sets and found out; small gains add up long before any of them could be proven alone. Now and
then the best set is measured as it is. Kinds of new ideas are chosen by what they are believed to
give. A candidate brings up to three of them, as many as can be expected to run together: its trial
costs the same, and the model shares what it says among them (group testing).

Source: Thompson 1933; Hill et al. 2017, An efficient bandit algorithm for realtime multivariate
optimization; Dorfman 1943, The detection of defective members of large populations.
"""

from __future__ import annotations

from random import Random

from novum.agents.search.effects import Gains
from novum.agents.search.findings import Findings
from novum.agents.search.naming import ideas_of
from novum.agents.search.node import Node
from novum.agents.search.protocol import Choice
from novum.lab.records import Kind

TEMPER = 1.0
"""Sds of a belief that a draw may stray."""
EXPLOIT = 0.03
"""Share of choices that measure the best set as it is."""
LIKELY = 0.08
"""Chance of being worth carrying below which an idea is not drawn."""
MAX_BROKEN = 2
MAX_NEW = 3
"""New ideas in one candidate."""
MIN_RUNS = 1 / 3
"""Least chance that a candidate with several new ideas runs."""
RESOLVE = 0.1
"""Share of choices that have a coder bring in a good idea that clashes with the others, if any."""
MIN_CLASHES = 2
KINDS = (
    Kind.ARCHITECTURE,
    Kind.OPTIMISER,
    Kind.DATA,
    Kind.SCHEDULE,
    Kind.SYSTEMS,
    Kind.CONSTANTS,
)
DIVERSE = 0.1
"""Share of proposals whose kind is the least tried: what pays may change as the best changes."""


class Frontier:
    """Threads share beliefs, not a branch: what one finds, the others build on at once."""

    name = "frontier"
    race_at = 6.0

    def final_set(self, findings: Findings) -> tuple[str, ...] | None:
        """All ideas that are believed to help."""
        return best_set(findings, findings.effects.gains()) or None

    def choose(self, findings: Findings, thread: int, rng: Random) -> Choice:
        """Draw what to carry, and which kind of idea to add."""
        gains = findings.effects.gains()
        if rng.random() < EXPLOIT and (best := best_set(findings, gains)):
            settled = strongest(home(findings))
            if settled and settled not in findings.by_ideas:
                best = settled  # others are merged onto it from then on
            base = nearest(findings, best)
            if not (base.ideas == best and base.n_all >= 2):
                return Choice("retest", (base.tree,), carry=best)
        if rng.random() < RESOLVE and (idea := worst_clash(findings, gains)):
            others = tuple(i for i in best_set(findings, gains) if i != idea)
            base = nearest(findings, others)
            return Choice("combine", (base.tree,), carry=others, resolve=idea)
        carry = drawn_set(findings, gains, rng)
        base = nearest(findings, carry)
        kind, *also = (draw_kind(findings, rng) for _ in range(n_new(findings)))
        return Choice("improve", (base.tree,), kind, carry, also=tuple(also))


def drawn_set(findings: Findings, gains: Gains, rng: Random) -> tuple[str, ...]:
    """What is settled, and ideas whose drawn effect is above zero."""
    drawn = home(findings)
    for i, idea in enumerate(gains.ideas):
        luck = rng.gauss(0.0, 1.0)
        if gains.worth[i] < LIKELY or not is_sound(findings, idea):
            continue
        value = float(gains.mean[i]) + TEMPER * luck * float(gains.sd[i])
        if value > 0.0:
            drawn[idea] = value
    return strongest(drawn)


def best_set(findings: Findings, gains: Gains) -> tuple[str, ...]:
    """What is settled, and ideas that are believed to help."""
    likely = {
        idea: float(gains.mean[i])
        for i, idea in enumerate(gains.ideas)
        if gains.mean[i] > 0.0 and gains.worth[i] >= LIKELY and is_sound(findings, idea)
    }
    return strongest(home(findings) | likely)


def home(findings: Findings) -> dict[str, float]:
    """Settled ideas with what they give, in sds; in every set that is made."""
    sd = findings.effects.noise_sd
    settled = findings.effects.settled
    return {i: mean / sd for i, (mean, _) in settled.items() if is_sound(findings, i)}


def worst_clash(findings: Findings, gains: Gains) -> str:
    """The best idea that had to be left out because it clashes; empty when there is none."""
    found = ""
    most = 0.0
    for i, idea in enumerate(gains.ideas):
        source = findings.sources[idea]
        if gains.mean[i] > most and source.n_clashed >= MIN_CLASHES and source.commits:
            found, most = idea, float(gains.mean[i])
    return found


def strongest(values: dict[str, float]) -> tuple[str, ...]:
    """All ideas with a value, but of several values of one constant the best alone."""
    return ideas_of(sorted(values, key=lambda idea: values[idea]))


def is_sound(findings: Findings, idea: str) -> bool:
    """Whether an idea may be carried: it ran, and is no cheat."""
    source = findings.sources[idea]
    return bool(source.n_run) and source.n_broken < MAX_BROKEN and not source.is_suspect


def n_new(findings: Findings) -> int:
    """How many new ideas a candidate may bring: as many as are likely enough to run together."""
    runs = 1.0 - findings.broken_share
    n = 1
    while n < MAX_NEW and runs ** (n + 1) >= MIN_RUNS:
        n += 1
    return n


def nearest(findings: Findings, ideas: tuple[str, ...]) -> Node:
    """The known candidate that lacks the fewest of these ideas and has no others."""
    if known := findings.by_ideas.get(ideas):
        return findings.nodes[known]
    wanted = set(ideas)
    best = findings.nodes[findings.start]
    settled = findings.by_ideas.get(strongest(home(findings)))
    if settled and wanted.issuperset(findings.nodes[settled].ideas):
        best = findings.nodes[settled]
    for node in (*findings.strong, *(findings.nodes[t] for t in findings.recent)):
        if len(node.ideas) > len(best.ideas) and wanted.issuperset(node.ideas):
            best = node
    return best


def draw_kind(findings: Findings, rng: Random) -> Kind:
    """The kind that a draw says gives most, and now and then the one that was tried least."""
    if rng.random() < DIVERSE:
        return min(KINDS, key=lambda k: (findings.kinds[k].tried if k in findings.kinds else 0, k))
    return findings.effects.kinds.draw(KINDS, rng)
