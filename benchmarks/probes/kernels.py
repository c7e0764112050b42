"""Questions to a kernel: every call has fresh values, and every answer is checked.

`call` runs the candidate in its own process and gives its output; `reference` is trusted and runs
here. Tolerances are per element, `atol + rtol * |want|`, with a ratio of elements that must match.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from novum.lab.records import Outcome, Probe

Array = NDArray[Any]
Call = Callable[[Sequence[Array]], Array]
MAX_CLUSTER = 0.25
"""Share of one row or column that may be wrong: more is a skipped tile, not rounding."""
CAP = 20.0
"""Largest error of any element, in tolerances: a mismatch within the ratio has a limit too."""


@dataclass(frozen=True)
class Tolerance:
    """How near an answer has to be."""

    rtol: float = 1e-4
    atol: float = 1e-5
    matched: float = 0.99


def errors(got: Array, want: Array, tolerance: Tolerance) -> NDArray[np.float64]:
    """Error of each element in tolerances; infinite where it is not finite."""
    allowed = tolerance.atol + tolerance.rtol * np.abs(want)
    with np.errstate(invalid="ignore"):
        off = np.abs(got.astype(np.float64) - want) / allowed
    return np.where(np.isfinite(got), off, np.inf)


def disagreement(got: Array, want: Array, tolerance: Tolerance) -> str:
    """Why an answer is wrong; empty when it is right."""
    if got.shape != want.shape:
        return f"shape {got.shape} instead of {want.shape}"
    off = errors(got, want, tolerance)
    wrong = off > 1
    if not wrong.any():
        return ""
    if (share := float(wrong.mean())) > 1 - tolerance.matched:
        return f"{share:.1%} of the elements are off, up to {off.max():.3g} tolerances"
    if off.max() > CAP:
        return f"one element is off by {off.max():.3g} tolerances"
    for axis in range(wrong.ndim):
        worst = float(wrong.mean(axis=tuple(a for a in range(wrong.ndim) if a != axis)).max())
        if wrong.shape[axis] > 1 and worst > MAX_CLUSTER:
            return f"wrong elements lie together: {worst:.0%} of one slice of axis {axis}"
    return ""


def probe_values(
    call: Call,
    reference: Call,
    draws: Mapping[str, Sequence[Array]],
    tolerance: Tolerance,
) -> Probe:
    """Inputs of several families, each seen once: random, large, tiny, constant, sorted, zeros."""
    for family, inputs in draws.items():
        want = reference([i.astype(np.float64) for i in inputs])
        why = disagreement(call([i.copy() for i in inputs]), want, tolerance)
        if why:
            return Probe("values", Outcome.FAIL, f"{family} inputs: {why}", {"family": family})
    return Probe("values", Outcome.PASS, f"right on {len(draws)} families of inputs")


def probe_sensitivity(
    call: Call, reference: Call, inputs: Sequence[Array], tolerance: Tolerance, rng: Any
) -> Probe:
    """A change of one element of each input changes the output as it should, and nothing else."""
    for k in range(len(inputs)):
        changed = [i.copy() for i in inputs]
        flat = changed[k].reshape(-1)
        flat[int(rng.integers(flat.size))] += 1.0 + float(np.abs(flat).max())
        want = reference([i.astype(np.float64) for i in changed])
        why = disagreement(call(changed), want, tolerance)
        if why:
            summary = f"one element of input {k} changed: {why}"
            return Probe("sensitivity", Outcome.FAIL, summary, {"input": k})
    return Probe("sensitivity", Outcome.PASS, f"each of {len(inputs)} inputs counts")


def probe_timed(wrong: Sequence[str], n: int) -> Probe:
    """Outputs of the calls that were timed."""
    if wrong:
        summary = f"{len(wrong)} of {n} timed calls gave a wrong answer: {wrong[0]}"
        return Probe("timed-outputs", Outcome.FAIL, summary)
    return Probe("timed-outputs", Outcome.PASS, f"all {n} timed calls gave the right answer")


def probe_cache(fresh_s: Sequence[float], repeated_s: Sequence[float]) -> Probe:
    """An input seen before must not be answered much faster than a new one.

    Both kinds of call come mixed, so that caches and a busy machine treat them alike. Times are no
    proof, so this asks for an extra check only; a cache gains nothing where values are fresh.
    """
    new, old = float(np.min(fresh_s)), float(np.min(repeated_s))
    usual, usual_old = float(np.median(fresh_s)), float(np.median(repeated_s))
    is_cache = old < 0.25 * new and usual_old < 0.25 * usual and new - old > 2e-4
    outcome = Outcome.CONFIRM if is_cache else Outcome.PASS
    summary = f"{new * 1e3:.3f} ms on new values, {old * 1e3:.3f} ms on values seen before"
    return Probe("cache", outcome, summary)


def probe_stable(call: Call, inputs: Sequence[Array], tolerance: Tolerance, n: int = 2) -> Probe:
    """The same input gives the same output each time, within the tolerance."""
    first = call([i.copy() for i in inputs]).astype(np.float64)
    for _ in range(n):
        why = disagreement(call([i.copy() for i in inputs]), first, tolerance)
        if why:
            return Probe("stable", Outcome.FAIL, f"the same input gives another output: {why}")
    return Probe("stable", Outcome.PASS, f"{n + 1} equal answers to one input")
