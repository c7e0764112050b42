"""Correctness: rounds of hidden inputs of every family, and what the profiler saw."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from novum.benchmarks.kernels.frames import Frames
from novum.benchmarks.kernels.inputs import FAMILIES
from novum.benchmarks.kernels.parties import Party, PartyFailed
from novum.benchmarks.kernels.plan import ARMS, Secret
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import WorkloadResult
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.station import Batch, Station, status_of
from novum.benchmarks.kernels.trace import Status


def check_all(
    station: Station,
    problem: Problem,
    solution: Solution,
    results: list[WorkloadResult],
    frames: Mapping[str, Frames],
    secret: Secret,
) -> None:
    """Check every workload in one process, or in a new one where it has failed.

    Raises:
        PartyFailed: no process starts, or the solution does not import or compile.
    """
    child: Party | None = None
    patience_s = station.plan.stage_s
    try:
        for result in results:
            if child is None or child.is_gone:
                child = begin(station, solution)
            try:
                memory = frames[result.workload.uuid]
                check(station, problem, result, memory, child, secret, patience_s)
            except PartyFailed as error:
                result.fail(status_of(error), str(error))
                if result.status is Status.TIMEOUT:  # it is not waited for as long again
                    patience_s = min(patience_s, station.plan.call_s)
                child.close()  # what failed may have spoiled the device for what comes after it
        if station.plan.profile and child is not None:
            profile_all(station, problem, child, results, frames, secret)
    finally:
        if child is not None:
            child.close()


def begin(station: Station, solution: Solution) -> Party:
    """A fresh process of the candidate, with its device ready and the solution loaded.

    Raises:
        PartyFailed: it does not start, import or compile.
    """
    with station.phases.phase("start"):
        child = station.begin(ARMS[0])
    try:
        with station.phases.phase("load"):
            station.arms.load(child, ARMS[0], solution)
    except PartyFailed:
        child.close()
        raise
    return child


def check(
    station: Station,
    problem: Problem,
    result: WorkloadResult,
    frames: Frames,
    child: Party,
    secret: Secret,
    patience_s: float,
) -> None:
    """Rounds of fresh inputs; the first failure ends them. The first call, in which the solution
    may compile, has `patience_s`.
    """
    plan, workload = station.plan, result.workload
    chooser = random.Random(secret.seed("families", workload.uuid))
    adversarial = chooser.sample(FAMILIES, min(len(FAMILIES), plan.rounds // 2))
    families = ["base"] * (plan.rounds - len(adversarial)) + adversarial
    for number, family in enumerate(families):
        key = f"check-{number}"
        inputs = station.draw(frames, key, family, secret.seed("check", workload.uuid, number))
        if number == 0:
            result.bound = station.bound(problem, result, key, frames)
        with station.phases.phase("inputs"):
            frames.poison()
        message = {"do": "check", "inputs": inputs, "outputs": frames.out_slots}
        with station.phases.phase("rounds" if number else "compile"), station.shared():
            reply = child.ask(
                message,
                (frames.in_readonly, frames.out_memory),
                timeout_s=plan.call_s if number else patience_s,
            )
        if notes := reply.get("notes"):
            result.fail(Status.REWARD_HACK, f"round {number}: {', '.join(map(str, notes))}")
            return
        if not station.judge(frames, result, {"key": key, "family": family}):
            return
        result.rounds += 1
        result.families.append(family)
        station.forget(key)


def profile_all(
    station: Station,
    problem: Problem,
    child: Party,
    results: list[WorkloadResult],
    frames: Mapping[str, Frames],
    secret: Secret,
) -> None:
    """Kernels of a few calls on each workload, from a process that is not timed otherwise.

    A profiler that cannot run here is no fault of the candidate.
    """
    with station.phases.phase("profile"), ExitStack() as stack:
        batches = []
        for result in results:
            if result.status is not Status.PASSED or child.is_gone:
                continue
            memory = frames[result.workload.uuid]
            with suppress(PartyFailed):
                batch = stack.enter_context(
                    station.batch(problem, result, memory, "profile", secret)
                )
                station.stage(child, batch, warmups=1)
                with station.shared():  # the profiler's own start is long, and nobody's business
                    profile(station, child, batch)
                batches.append(batch)
        with station.alone():
            for batch in batches:
                with suppress(PartyFailed):
                    batch.result.profile = profile(station, child, batch)


def profile(station: Station, child: Party, batch: Batch) -> list[Mapping[str, Any]]:
    """What the profiler saw of a few calls.

    Raises:
        PartyFailed: the process or the profiler fails.
    """
    question = {"do": "profile", "key": batch.key}
    return list(child.ask(question, timeout_s=station.plan.call_s)["calls"])
