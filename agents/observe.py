"""Make the situation of one proposal from the findings, the pack and the directives."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from novum.agents.experience import recipes
from novum.agents.search.node import MoveRecord, Node
from novum.agents.search.protocol import Choice
from novum.agents.situation import Branch, ConstantFact, Situation, Technique, move_key
from novum.errors import DoesNotApply
from novum.lab.records import Label
from novum.memory.experience import Earlier
from novum.tools.recall import describe, is_refused
from novum.tools.text import bounded

if TYPE_CHECKING:
    from novum.agents.lab import Lab

MAX_BRANCHES = 8
MAX_LESSONS = 6
MAX_FAILURES = 4
WRONG = (Label.HACK, Label.INVALID, Label.QUARANTINED, Label.REGRESSION, Label.MISSED)
MAX_CONSTANTS = 40
MAX_ATTEMPTED = 200
MAX_TASK = 4_000
CACHED_PARENTS = 32


def observe(lab: Lab, thread: int, iteration: int, choice: Choice, seed: int) -> Situation:
    """Everything that a proposal may rest on. A pure reading; nothing is changed."""
    findings = lab.findings
    parents = tuple(branch(lab, findings.nodes[tree]) for tree in choice.parents)
    tried = findings.tried_on(choice.parents)
    # The latest alone: on one parent thousands may have been tried, and `check` knows them all.
    latest = list(islice(reversed(tried), MAX_ATTEMPTED))[::-1]
    attempted = tuple(k for k in latest if k[0] != "~")
    any_base = choice.carry is not None
    values = lab.surfaces.of(lab, choice.parents[0])
    question = f"{choice.mode} {choice.kind_hint or ''} {' '.join(parents[0].moves)}"
    # A recall takes longer than all else here, so a brain that reads no text is spared it.
    reads = getattr(lab.brains["planner"], "reads_text", True)
    recalled = lab.memory.recall(question, MAX_LESSONS) if reads else ()
    allowed = (n for n in findings.frontier if not lab.is_banned(n.tree))
    return Situation(
        benchmark=lab.pack.id,
        metric=lab.pack.manifest.metric.name,
        better=lab.pack.manifest.metric.better,
        task=bounded(lab.pack.task, MAX_TASK),
        thread=thread,
        iteration=iteration,
        mode=choice.mode,
        parents=parents,
        kind_hint=choice.kind_hint or "",
        also=tuple(choice.also),
        frontier=tuple(branch(lab, n) for n in islice(allowed, MAX_BRANCHES)),
        directives=lab.directives.texts(),
        budget=lab.budget.left(findings.n_proposals),
        kinds=tuple(findings.kinds[k] for k in sorted(findings.kinds)),
        lessons=tuple(describe(x) for x in recalled),
        failures=failures(lab),
        techniques=techniques(lab, values.applicable, any_base=any_base),
        recipes=recipes(lab),
        constants=tuple(
            ConstantFact(
                name=name,
                value=value,
                tried=tuple(findings.values.get(name, ())[-MAX_ATTEMPTED:])
                if any_base
                else tuple(k[len(name) + 1 :] for k in attempted if k.startswith(f"{name}=")),
                better=findings.directions.get(name, ""),
            )
            for name, value in some(values.constants, seed)
        ),
        attempted=attempted,
        any_base=any_base,
        allow_repeat=lab.directives.allow_repeat,
        n_proposals=findings.n_proposals,
        random=seed,
    )


def some(constants: dict[str, str], seed: int) -> list[tuple[str, str]]:
    """At most `MAX_CONSTANTS`, drawn anew for each proposal: a large project has hundreds."""
    pairs = list(constants.items())
    if len(pairs) <= MAX_CONSTANTS:
        return pairs
    return [pairs[i] for i in sorted(Random(seed).sample(range(len(pairs)), MAX_CONSTANTS))]


def failures(lab: Lab) -> tuple[str, ...]:
    """The latest experiments that went wrong or were refused, oldest first."""
    wrong = (x for x in lab.recent if x.label in WRONG or is_refused(x))
    return tuple(describe(x) for x in wrong)[-MAX_FAILURES:]


def branch(lab: Lab, node: Node) -> Branch:
    """A candidate as the planner sees it."""
    return Branch(
        tree=node.tree,
        label=node.label,
        gain=round(lab.findings.gain(node), 6),
        n_trials=node.n,
        moves=node.moves,
        summary=node.summary,
    )


def techniques(lab: Lab, applicable: frozenset[str], *, any_base: bool) -> tuple[Technique, ...]:
    """The playbook with how each technique fared here.

    Where the search carries known ideas itself, those that ran or were tried alone are not offered
    as new ones.
    """
    nothing, unheard = MoveRecord(), Earlier()
    found = []
    for name, move in lab.moves.techniques.items():
        if lab.directives.bans(name):
            continue
        record = lab.findings.moves.get(name, nothing)
        source = lab.findings.sources.get(name)
        is_suspect = source is not None and source.is_suspect
        has_run = source is not None and source.n_run > 0 and not is_suspect
        # What was tried alone, and did not even run, would be refused.
        is_known = any_base and (has_run or move_key({"apply": [name]}) in lab.findings.anywhere)
        before = lab.experience.moves.get(name, unheard)
        found.append(
            Technique(
                name=name,
                kind=move.kind,
                hypothesis=move.hypothesis,
                prior=move.prior,
                applies=name in applicable and (not is_known or lab.directives.allow_repeat),
                tried=record.tried,
                won=record.won,
                broken=record.broken,
                is_suspect=is_suspect,
                gain_sum=round(record.gain_sum, 6),
                weight=record.weight,
                earlier_gain_sum=round(before.gain_sum, 6),
                earlier_weight=before.weight,
            )
        )
    return tuple(found)


class Surface:
    """What the playbook finds to change in one candidate: its constants, what applies to it."""

    def __init__(self, lab: Lab, tree: str) -> None:
        files = lab.archive.files(tree)
        self.constants = lab.moves.constants(files)
        fits = []
        for name in lab.moves.techniques:
            try:
                lab.moves.apply(name, files)
            except DoesNotApply:
                continue
            fits.append(name)
        self.applicable = frozenset(fits)


class Surfaces:
    """Surfaces of the candidates that were looked at last: parsing takes longer than planning."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Surface] = OrderedDict()

    def of(self, lab: Lab, tree: str) -> Surface:
        """The surface of a candidate."""
        if tree not in self._known:
            self._known[tree] = Surface(lab, tree)
            if len(self._known) > CACHED_PARENTS:
                self._known.popitem(last=False)
        self._known.move_to_end(tree)
        return self._known[tree]
