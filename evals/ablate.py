"""Ablation: what each technique of a candidate is worth, by taking it out once.

The candidate is a start with techniques of the pack's playbook applied in order. It and the
versions that lack one technique each are measured in rounds, an arm once a round, so that whatever
the machine does meets all alike and a measurement that is cut short has lost no arm. Every trial is
a line of a file as soon as it has ended; what stands there is not measured again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isinf
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from novum.benchmarks.evaluate import Bench, as_json
from novum.benchmarks.harness import tree_hash
from novum.benchmarks.moves import Files, Technique, apply_move
from novum.benchmarks.pack import Pack, Profile
from novum.errors import DoesNotApply, RecordError, UnknownName, UsageError
from novum.evals.significance.worth import Worth, worths
from novum.lab.records import Better, Split, TrialStatus
from novum.sandboxes.executor import Executor
from novum.sandboxes.slots import Slot

log = logging.getLogger(__name__)

ALL, START = "all", "start"
"""Names of the arm that lacks nothing and of the one that has nothing."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A version of the candidate, named by the technique that it was made without."""

    name: str
    files: Files
    lacks: tuple[str, ...] = ()
    """What is missing: the technique, and those that do not apply without it."""

    @property
    def tree(self) -> str:
        """Hash of its files."""
        return tree_hash(self.files)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often."""

    arms: tuple[Arm, ...]
    n_trials: int
    split: Split = "search"
    fidelity: str = "full"
    ends_s: float | None = None
    """When all has to be over, by the monotonic clock: no trial begins that would end later,
    going by the longest so far."""


def arms_of(
    start: Mapping[str, bytes],
    playbook: Mapping[str, Technique],
    names: Sequence[str],
    *,
    with_start: bool = False,
) -> tuple[Arm, ...]:
    """The candidate, and for each technique the candidate without it.

    A technique that needs another one is left out together with it.

    Raises:
        UnknownName: the playbook has no such technique.
        UsageError: a technique is named twice or does not apply after those before it.
    """
    for name in names:
        if name not in playbook:
            raise UnknownName(
                f"the playbook has no technique {name!r}; `novum packs show` lists it"
            )
    if not names or len(set(names)) < len(names):
        raise UsageError("name the candidate's techniques, each once, in the order they apply.")
    whole, refused = assembled(start, playbook, names)
    if refused:
        why = next(iter(refused.values()))
        raise UsageError(f"the techniques do not apply in this order: {why}")
    arms = [Arm(ALL, whole)]
    for name in names:
        files, refused = assembled(start, playbook, [other for other in names if other != name])
        arms.append(Arm(name, files, (name, *refused)))
    return (*arms, Arm(START, dict(start), tuple(names))) if with_start else tuple(arms)


def assembled(
    start: Mapping[str, bytes], playbook: Mapping[str, Technique], names: Sequence[str]
) -> tuple[Files, dict[str, str]]:
    """A start with techniques applied in order, and why those did not apply that did not."""
    files, refused = dict(start), {}
    for name in names:
        try:
            files = apply_move(playbook[name], files)
        except DoesNotApply as error:
            refused[name] = str(error)
    return files, refused


async def measure(
    bench: Bench, slots: Sequence[Slot], plan: Plan, path: Path, tell: Callable[[Row], None]
) -> list[Row]:
    """Run what the file lacks of the plan, on all slots; returns the rows of all its arms.

    Raises:
        RecordError: the file holds something else.
    """
    rows = known(path, bench, plan)
    count = Counter(row["tree"] for row in rows)
    longest_s = max((seconds(row) for row in rows), default=0.0)

    def trial(slot: Slot, arm: Arm) -> Row | None:
        if plan.ends_s is not None and time.monotonic() + longest_s > plan.ends_s:
            return None
        seed = secrets.randbits(31)
        result = replace(bench, slot=slot).trial(
            arm.files, seed, split=plan.split, fidelity=plan.fidelity
        )
        return named(arm) | measured_as(bench, plan) | as_json(seed, result)

    async def one(executor: Executor, arm: Arm) -> None:
        nonlocal longest_s
        row = await executor.run(lambda slot: trial(slot, arm), arm.name)
        if row is not None:
            longest_s = max(longest_s, seconds(row))
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            tell(row)

    async with Executor(slots) as executor:
        rounds = [
            one(executor, arm)
            for i in range(plan.n_trials)
            for arm in different(plan.arms)
            if count[arm.tree] <= i
        ]
        await asyncio.gather(*rounds)
    return rows


def different(arms: Sequence[Arm]) -> list[Arm]:
    """Arms of different files, the first of those that are alike."""
    found: dict[str, Arm] = {}
    for arm in arms:
        found.setdefault(arm.tree, arm)
    return list(found.values())


def seconds(row: Row) -> float:
    """What a trial took, preparation and grading included."""
    return float(row["observed"].get("trial_s", 0.0))


def named(arm: Arm) -> Row:
    """Which version a row belongs to."""
    return {"arm": arm.name, "lacks": list(arm.lacks), "tree": arm.tree}


def measured_as(bench: Bench, plan: Plan) -> Row:
    """What two trials must have in common to be compared."""
    return {
        **{"pack": bench.pack.id, "profile": bench.profile.name, "harness": bench.harness},
        **{"hardware": bench.hardware, "split": plan.split, "fidelity": plan.fidelity},
    }


def known(path: Path, bench: Bench, plan: Plan) -> list[Row]:
    """Trials of the plan's arms that the file has already, measured in the same way.

    A last line that was cut off when its writer was killed is taken out of the file.

    Raises:
        RecordError: the file holds something else.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        found = [json.loads(line) for line in whole.splitlines()]
        trees = {arm.tree for arm in plan.arms}
        same = measured_as(bench, plan).items()
        rows = [row for row in found if row["tree"] in trees and same <= row.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path} does not hold trials of an ablation: {error!r}.\nName another file."
        ) from error
    if whole != text:
        path.write_text(whole)
    if len(rows) < len(found):
        n = len(found) - len(rows)
        log.warning("%s trials of %s were measured otherwise and do not count", n, path)
    return rows


@dataclass(frozen=True)
class Measure:
    """The value that is compared: a pack's metric, or what a profile requires beside it."""

    name: str
    better: Better
    digits: int
    noise: Literal["absolute", "relative"] = "absolute"
    is_metric: bool = True

    @classmethod
    def of(cls, pack: Pack, profile: Profile, name: str | None = None) -> Measure:
        """The metric, or the required value of this name.

        Raises:
            UnknownName: the profile requires no such value.
        """
        metric = pack.manifest.metric
        if name is None:
            return cls(metric.name, metric.better, metric.digits, metric.noise)
        if name not in profile.requirements:
            known = ", ".join(profile.requirements) or "nothing beside the metric"
            raise UnknownName(f"profile {profile.name} requires no {name!r}; it requires {known}")
        return cls(name, profile.requirements[name].better, 4, is_metric=False)

    def scores(self, rows: Sequence[Row], arm: Arm) -> list[float | None]:
        """This value of an arm's trials; `None` for one that failed."""
        return [self.value(row) for row in rows if row["tree"] == arm.tree]

    def value(self, row: Row) -> float | None:
        """This value of one trial."""
        if row["status"] != TrialStatus.FINISHED:
            return None
        found = row["metric"] if self.is_metric else row["observed"].get(self.name)
        return None if found is None else float(found)


def in_short(row: Row, of: Measure) -> str:
    """One trial, as soon as it has ended."""
    lacks = " ".join(row["lacks"]) or "nothing"
    value = of.value(row)
    said = f"{row['status']}: {row['error'].strip()}" if value is None else f"{value:.{of.digits}f}"
    return f"without {lacks}: {said}  ({seconds(row):.0f} s)"


def table(rows: Sequence[Row], arms: Sequence[Arm], of: Measure) -> str:
    """The ablation as Markdown: what helps most comes first."""
    trials = {arm.name: of.scores(rows, arm) for arm in arms}
    lacking = {name: values for name, values in trials.items() if name != ALL}
    found = worths(trials[ALL], lacking, of.better, of.noise)

    def place(arm: Arm) -> tuple[bool, float]:
        return arm.name == START, -found[arm.name].gain if arm.name in found else inf

    ranked = sorted(arms[1:], key=place)
    lines = [
        f"| without | n | {of.name} | sd | worse by | 95 % interval | says |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(line(arm, trials[arm.name], of, found.get(arm.name)) for arm in (arms[0], *ranked)),
    ]
    return "\n".join(lines)


def line(arm: Arm, trials: Sequence[float | None], of: Measure, worth: Worth | None) -> str:
    """One arm."""
    values = [value for value in trials if value is not None]
    failed = f", {len(trials) - len(values)} failed" if len(values) < len(trials) else ""
    mean = f"{fmean(values):.{of.digits}f}" if values else "–"
    spread = f"{stdev(values):.{of.digits}f}" if len(values) > 1 else "–"
    cells = [spelled(arm), f"{len(values)}{failed}", mean, spread, *meaning(worth)]
    return "| " + " | ".join(cells) + " |"


def spelled(arm: Arm) -> str:
    """What an arm lacks."""
    if arm.name in (ALL, START):
        return {ALL: "nothing", START: "any of them"}[arm.name]
    also = ", ".join(f"`{name}`" for name in arm.lacks[1:])
    needs = "needs" if len(arm.lacks) == 2 else "need"
    return f"`{arm.name}`" + (f" (and {also}, which {needs} it)" if also else "")


def meaning(worth: Worth | None) -> tuple[str, str, str]:
    """How much worse it is, within what, and what that says of the technique."""
    if worth is None:
        return "", "", ""
    gain = f"{100 * worth.gain:+.2f} %"
    if isinf(worth.low) or isinf(worth.high):
        return gain, "–", "not repeated"
    says = ("helps" if worth.gain > 0 else "hurts") if worth.is_clear else "not told apart"
    return gain, f"{100 * worth.low:+.2f} to {100 * worth.high:+.2f} %", says
