"""How the playbook chooses its next move: a pure function of the situation.

Thompson sampling over techniques. The gain of a technique has a normal prior around what the pack
expects of it, shifted by how its kind has paid in this run, and is updated by the gains measured
here; one draw a technique, the best draw wins. Repeats are excluded by `Situation.attempted`.
"""

from __future__ import annotations

from math import sqrt
from random import Random
from typing import Any

from novum.agents.situation import ConstantFact, Situation, Technique, move_key

Step = tuple[str, dict[str, Any]]
PRIOR_SD = 0.02
"""Spread of the gains of known techniques about what their authors say, as a fraction."""
EVIDENCE_SD = 0.015
"""Spread of one measured gain: noise of a few trials, and the base it was measured on."""
EARLIER_SD = 0.03
"""Spread of one gain that an earlier run measured: on other bases, by another search."""
CONSTANT_GAIN = 0.004
"""What turning one constant is expected to give; techniques below it wait for the constants."""
MAX_BUNDLE = 4
MAX_LATER_BUNDLE = 2
"""Once something has won: of four techniques stacked on a good base one that hurts hides three
that help (seen in runs of nanochat's CPU profile)."""
COST_OF_A_WIN = 6
"""Trials that an accepted proposal takes: one to select it, two to four an arm to race it."""
FACTORS = (0.5, 0.7, 1.4, 2.0)


def choose(situation: Situation, n_refused: int = 0) -> Step:
    """`propose` with a move that was not tried on these parents, or `nothing_left`.

    `n_refused` counts the proposals of this iteration that were turned down; it moves the random
    state on, so that asking again does not give the same answer.
    """
    rng = Random(f"{situation.random}/{n_refused}")
    if situation.mode == "combine" and len(situation.parents) > 1:
        if step := combine(situation):
            return step
    if not n_refused and (step := repeat_recipe(situation)):
        return step
    drawn = sorted(
        ((draw(t, situation, rng), t) for t in open_techniques(situation)),
        key=lambda pair: (-pair[0], pair[1].name),
    )
    constant = perturb(situation, rng)
    # What was refused may have been that two do not go together.
    room = 1 if n_refused else 1 + len(situation.also)
    bundle = pick_bundle(drawn, situation, room)
    if bundle and (drawn[0][0] > CONSTANT_GAIN or constant is None):
        return propose_techniques(bundle, situation)
    if constant is not None:
        return propose_constants(constant, situation, rng, room)
    return ("nothing_left", {"reason": "every technique and constant was tried on this candidate"})


def repeat_recipe(situation: Situation) -> Step | None:
    """What an earlier run ended with, all at once, before anything is built on the start.

    It is tested as any proposal is: what was won there has to be won again here.
    """
    if situation.head.label != "start" or len(situation.parents) > 1:
        return None
    for recipe in situation.recipes:
        move: dict[str, Any] = {"apply": [m for m in recipe.moves if "=" not in m]}
        if values := dict(m.split("=", 1) for m in recipe.moves if "=" in m):
            move["set"] = values
        if situation.allow_repeat or move_key(move) not in situation.attempted:
            text = f"What run {recipe.run} ended with helps here too: {', '.join(recipe.moves)}"
            return _propose(situation, text, "combination", move)
    return None


def open_techniques(situation: Situation) -> list[Technique]:
    """Techniques that fit the lineage of the parent and were not tried on it."""
    present = set(situation.head.moves)
    return [
        t
        for t in situation.techniques
        if t.name not in present
        and t.applies
        and (situation.allow_repeat or move_key({"apply": [t.name]}) not in situation.attempted)
        and t.broken < 2 + t.won
    ]


def draw(technique: Technique, situation: Situation, rng: Random) -> float:
    """One sample of the gain that the technique would give here."""
    kind = next((k for k in situation.kinds if k.kind == technique.kind), None)
    prior = technique.prior
    if kind is not None and kind.tried >= 2:
        # Half weight, growing slowly: a kind that keeps paying pulls its untried members up.
        pull = kind.tried / (kind.tried + 6)
        prior = (1 - pull) * prior + pull * kind.gain_sum / kind.tried
    if situation.kind_hint == technique.kind:
        prior += PRIOR_SD / 2
    known = (
        (prior, 1.0, PRIOR_SD),
        (technique.gain_sum, technique.weight, EVIDENCE_SD),
        (technique.earlier_gain_sum, technique.earlier_weight, EARLIER_SD),
    )
    precision = sum(n / sd**2 for _, n, sd in known)
    mean = sum(total / sd**2 for total, _, sd in known) / precision
    return rng.gauss(mean, 1 / sqrt(precision))


def pick_bundle(
    drawn: list[tuple[float, Technique]], situation: Situation, room: int = 1
) -> list[Technique]:
    """The best techniques to try as one proposal: one, as many as the search can tell apart
    (`room`), or several while trials are scarce.

    When far more techniques look good than the budget can test one by one, the strongest of
    different kinds are stacked; the race still judges the stack as a whole. What failed beside
    others is tried alone, so that what is to blame is found.
    """
    if not drawn:
        return []
    chosen = [drawn[0][1]]
    size = 1 if must_be_alone(chosen[0]) else max(room, bundle_size(drawn, situation))
    for wish_new_kind in (True, False):
        for gain, technique in drawn[1:]:
            if len(chosen) >= size or gain < CONSTANT_GAIN:
                break
            if technique in chosen or must_be_alone(technique):
                continue
            if wish_new_kind and technique.kind in {t.kind for t in chosen}:
                continue
            chosen.append(technique)
    for smaller in range(len(chosen), 0, -1):
        part = chosen[:smaller]
        key = move_key({"apply": [t.name for t in part]})
        if situation.allow_repeat or key not in situation.attempted:
            return part
    return []


def must_be_alone(technique: Technique) -> bool:
    """Whether a technique failed before, so that it could take others down with it."""
    return bool(technique.broken or technique.is_suspect)


def bundle_size(drawn: list[tuple[float, Technique]], situation: Situation) -> int:
    """How many techniques a proposal should stack, given what the budget can still test."""
    budget = situation.budget
    affordable = [
        budget.trials / COST_OF_A_WIN if budget.trials is not None else None,
        float(budget.experiments) if budget.experiments is not None else None,
    ]
    wins = min((a for a in affordable if a is not None), default=None)
    if wins is None:
        return 1
    good = sum(gain > CONSTANT_GAIN for gain, _ in drawn)
    most = MAX_BUNDLE if situation.head.label == "start" else MAX_LATER_BUNDLE
    return max(1, min(most, round(good / max(wins, 1.0))))


def propose_techniques(bundle: list[Technique], situation: Situation) -> Step:
    """A proposal that applies these techniques."""
    if len(bundle) == 1:
        text, kind = bundle[0].hypothesis, bundle[0].kind
    else:
        names = ", ".join(t.name for t in bundle)
        how = f"Each of {names} helps: " if situation.also else f"Stacked, {names} help together: "
        text = how + " ".join(t.hypothesis for t in bundle)
        kind = bundle[0].kind if len({t.kind for t in bundle}) == 1 else "combination"
    return _propose(situation, text, kind, {"apply": [t.name for t in bundle]})


def propose_constants(
    first: tuple[ConstantFact, str], situation: Situation, rng: Random, room: int
) -> Step:
    """A proposal that turns this constant, and others with it where there is room."""
    turned = {first[0].name: first}
    for _ in range(room - 1):
        left = tuple(c for c in situation.constants if c.name not in turned)
        more = perturb(situation.model_copy(update={"constants": left}), rng)
        if more is not None:
            turned[more[0].name] = more
    does = "does better" if situation.better == "higher" else "lowers the loss"
    text = "; ".join(
        f"{fact.name} = {fact.value} is not the best value; {value} {does}"
        for fact, value in turned.values()
    )
    move = {"set": {name: value for name, (_, value) in turned.items()}}
    return _propose(situation, text, "constants", move)


def combine(situation: Situation) -> Step | None:
    """Merge the suggested parents; `None` when that was tried or would add nothing."""
    first, *others = situation.parents
    missing = [m for b in others for m in b.moves if m not in first.moves]
    if not missing or (not situation.allow_repeat and "merge" in situation.attempted):
        return None
    text = f"What {first.tree[:8]} and {', '.join(b.tree[:8] for b in others)} gained adds up"
    techniques = [m for m in dict.fromkeys(missing) if "=" not in m]
    return _propose(situation, text, "combination", {"merge": True, "apply": techniques})


def perturb(situation: Situation, rng: Random) -> tuple[ConstantFact, str] | None:
    """A constant of the parent and a new value; a direction that won before is gone on with."""
    options: list[tuple[float, ConstantFact, str]] = []
    for fact in situation.constants:
        for factor in FACTORS:
            value = scaled(fact.value, factor)
            if value is None or (value in fact.tried and not situation.allow_repeat):
                continue
            weight = 1.0
            if fact.better:
                weight = 4.0 if (factor > 1) == (fact.better == "up") else 0.25
            weight /= 1 + len(fact.tried)
            options.append((weight, fact, value))
    if not options:
        return None
    (_, fact, value) = rng.choices(options, weights=[o[0] for o in options])[0]
    return fact, value


def scaled(text: str, factor: float) -> str | None:
    """A number as text, scaled: integers stay integers; `None` when that changes nothing, or when a
    count would become nothing."""
    try:
        old = int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return None
        new = f"{number * factor:.3g}"
        return None if number == 0 or float(new) == number else new
    value = round(old * factor)
    return None if value == old or value <= 0 else str(value)


def _propose(situation: Situation, hypothesis: str, kind: str, move: dict[str, Any]) -> Step:
    parents = [b.tree for b in situation.parents] if move.get("merge") else [situation.head.tree]
    return (
        "propose",
        {"hypothesis": hypothesis[:2000], "kind": kind, "parents": parents, "move": move},
    )
