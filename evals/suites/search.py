"""How much each search policy finds, claims and costs, on landscapes whose truth is known.

By default campaigns of 100 trials, a minute or two; 2,000 trials take minutes each.

The policies, the findings and the gates are the real ones; only trials are computed. Gains are in
sds of one trial's noise. Beside them stands the plain loop that keeps whatever scores better.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter, process_time

from novum.agents.search.frontier import MAX_NEW
from novum.agents.search.registry import POLICIES, make_policy
from novum.errors import UsageError
from novum.evals.suites.options import at_least, parser_of
from novum.evals.suites.rivals import evolve
from novum.evals.suites.simulated.campaign import PLAIN, Campaign, Outcome, keep_if_better
from novum.evals.suites.simulated.landscapes import HELD_OUT, Landscape
from novum.evals.suites.simulated.screened import MARK, ScreenedCampaign
from novum.evals.suites.surrogate.ceiling import ceiling
from novum.evals.suites.surrogate.landscape import NAME as SURROGATE
from novum.evals.suites.surrogate.named import names, truth

SEVERAL = f"{PLAIN}, {MAX_NEW} at once"
"""The plain loop with as many new ideas in a candidate as the frontier has at most."""
Task = tuple[str, str, int, int]
"""Landscape, policy, budget in trials, repeat."""


def campaign(task: Task) -> Outcome:
    """One campaign; a repeat draws another landscape of the same name."""
    name, policy, budget, repeat = task
    if policy == evolve.NAME:
        return evolve.campaign(name, budget, repeat)
    landscape = truth(name, repeat)
    wall, cpu = perf_counter(), process_time()
    if policy == PLAIN:
        outcome = keep_if_better(landscape, budget, repeat)
    elif policy == SEVERAL:
        outcome = keep_if_better(landscape, budget, repeat, MAX_NEW)
    elif MARK in policy:
        name, _, correlation = policy.partition(MARK)
        if not isinstance(landscape, Landscape):
            raise UsageError(f"{landscape.name} has no cheap fidelity here")
        rho = float(correlation)
        outcome = ScreenedCampaign(landscape, make_policy(name), budget, repeat, rho).run()
    else:
        outcome = Campaign(landscape, make_policy(policy), budget, repeat).run()
    each = 1e3 / max(outcome.n_ideas, 1)
    return replace(
        outcome,
        own_ms=each * (perf_counter() - wall),
        own_cpu_ms=each * (process_time() - cpu),
    )


def render(outcomes: Iterable[Outcome]) -> str:
    """The table: a line for each landscape, budget and policy, with 95 % intervals of the means;
    gains are in sds of one trial's noise, on the measured benchmark in percents of its metric."""
    groups: dict[tuple[int, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.budget, outcome.landscape, outcome.policy), []).append(outcome)
    lines = [
        "| trials | landscape | policy | true gain | claimed - true | kept | false keeps "
        "| false champions | ideas | trials used |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (budget, landscape, policy), group in groups.items():
        over = [o.claimed - o.true_gain for o in group if o.claimed is not None]
        unit = " %" if landscape == SURROGATE else " sd"
        mark = " (held out)" if landscape in HELD_OUT else ""
        cells = [
            f"{budget}",
            f"{landscape}{mark}",
            policy,
            interval([o.true_gain for o in group]) + unit,
            interval(over) + unit if over else "no claim",
            f"{fmean(o.n_kept for o in group):.1f}",
            f"{fmean(o.n_false_kept for o in group):.1f}",
            f"{sum(o.is_false_champion for o in group)} of {len(group)}",
            f"{fmean(o.n_ideas for o in group):.0f}",
            f"{fmean(o.cost for o in group):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def render_screens(outcomes: Iterable[Outcome]) -> str:
    """What screens saved, and how many switched themselves off, and when."""
    groups: dict[tuple[int, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if MARK in outcome.policy:
            key = (outcome.budget, outcome.landscape, outcome.policy)
            groups.setdefault(key, []).append(outcome)
    lines = [
        "| trials | landscape | policy | full trials saved | switched off | after trials |",
        "|---|---|---|---|---|---|",
    ]
    for (budget, landscape, policy), group in groups.items():
        off = [o.off_at for o in group if o.off_at is not None]
        after = f"{fmean(off):.0f}" if off else ""
        saved = interval([o.n_saved for o in group])
        cells = [f"{budget}", landscape, policy, saved, f"{len(off)} of {len(group)}", after]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def render_own(outcomes: Iterable[Outcome]) -> str:
    """What an idea costs beside its trial, by policy and budget; trials are computed in no time."""
    groups: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.budget, outcome.policy), []).append(outcome)
    lines = ["| trials | policy | ms an idea | CPU ms an idea |", "|---|---|---|---|"]
    for (budget, policy), group in groups.items():
        wall, cpu = interval([o.own_ms for o in group]), interval([o.own_cpu_ms for o in group])
        lines.append(f"| {budget} | {policy} | {wall} | {cpu} |")
    return "\n".join(lines)


def interval(values: Sequence[float]) -> str:
    """Mean and the half width of its 95 % interval (normal)."""
    half = 1.96 * stdev(values) / sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{fmean(values):.2f} ± {half:.2f}"


def measure(
    tasks: Sequence[Task], n_processes: int, say: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run campaigns, several at a time; the order of the results is that of the tasks."""
    if n_processes == 1:
        found = []
        for task in tasks:
            found.append(campaign(task))
            say(found[-1])
        return found
    with ProcessPoolExecutor(n_processes) as pool:
        return list(pool.map(campaign, tasks))


def run(arguments: Sequence[str]) -> int:
    """Print the table; with `--out` keep every campaign as a line of JSON."""
    parser = parser_of("search", __doc__)
    parser.add_argument("--trials", type=at_least(1), nargs="+", default=[100])
    parser.add_argument("--repeats", type=at_least(1), default=10)
    every = [PLAIN, SEVERAL, *POLICIES]
    parser.add_argument("--policies", nargs="+", choices=every, default=every)
    parser.add_argument("--landscapes", nargs="+", choices=names(), default=names())
    parser.add_argument("--processes", type=at_least(1), default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--openevolve",
        action="store_true",
        help="add OpenEvolve itself (extra `openevolve`), and what an idea costs each of them",
    )
    parser.add_argument(
        "--screens",
        type=float,
        nargs="+",
        default=[],
        metavar="CORRELATION",
        help="add the policies with a cheap fidelity that correlates so with the full one",
    )
    said = parser.parse_args(arguments)
    policies = [*said.policies, evolve.NAME] if said.openevolve else said.policies
    real = [policy for policy in said.policies if policy in POLICIES]
    policies = [*policies, *(f"{p}{MARK}{rho:g}" for rho in said.screens for p in real)]
    tasks = [
        (name, policy, budget, repeat)
        for budget in said.trials
        for name in said.landscapes
        for policy in policies
        for repeat in range(said.repeats)
    ]

    def keep(outcome: Outcome) -> None:
        if said.out:
            fields = {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}
            with said.out.open("a") as file:
                file.write(json.dumps(fields) + "\n")

    outcomes = measure(tasks, said.processes, keep)
    print(render(outcomes))
    if SURROGATE in said.landscapes:
        most, best = ceiling()
        print(
            f"\n{SURROGATE}: the best set found by climbing gains {most:.2f} % ({len(best)} ideas)"
        )
    if said.screens:
        print(f"\n{render_screens(outcomes)}")
    if said.openevolve:
        print(f"\n{render_own(outcomes)}")
    return 0
