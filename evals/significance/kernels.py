"""Speedup of a kernel: the replicate is the process, not the iteration.

Iterations inside a process share its clocks, addresses and autotuning, so a thousand of them are
worth little more than one. Each process gives its median; the arms' processes are interleaved by
the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, exp, isfinite, log, sqrt

import numpy as np

from novum.evals.significance.distributions import normal_sf, t_isf
from novum.evals.significance.scores import FloatArray

MIN_PROCESSES = 5
MAX_EXACT = 20_000
"""Assignments to enumerate before the permutation test samples instead (8 and 8: 12,870)."""


@dataclass(frozen=True)
class KernelComparison:
    """Speedup (reference time over candidate time, above 1 is faster) with its evidence."""

    speedup: float
    """Hodges-Lehmann estimate; 0 when most of the candidate's processes crashed."""
    low: float
    high: float
    """Two-sided hierarchical bootstrap interval; the claim is its lower end."""
    p_value: float | None
    """One-sided permutation test across processes; `None` with one process in an arm."""
    n_reference: int
    n_candidate: int
    n_crashed: int
    """Processes of the candidate that crashed, each counted as slower than all others."""

    @property
    def has_enough_processes(self) -> bool:
        """Whether both arms have the five processes below which no speedup should be claimed."""
        return min(self.n_reference, self.n_candidate) >= MIN_PROCESSES


def compare_kernels(
    reference: Sequence[Sequence[float]],
    candidate: Sequence[Sequence[float]],
    *,
    seed: int,
    level: float = 0.95,
    n_bootstrap: int = 2000,
) -> KernelComparison:
    """Compare times (any unit, one inner list a process) of a kernel with its reference's.

    A process without times, or with one that is not finite and positive, crashed: for the
    candidate it is slower than all others, for the reference it is left out. The same arguments
    give the same result. The interval is percentile bootstrap widened for few processes
    (Hesterberg 2015); its coverage at five processes an arm is approximate (see the tests).

    Raises:
        ValueError: an arm has no process that can be compared.
    """
    base = [np.log(np.asarray(p, dtype=np.float64)) for p in reference if _is_sound(p)]
    ours = [
        np.log(np.asarray(p, dtype=np.float64)) if _is_sound(p) else _CRASHED for p in candidate
    ]
    if not base or not ours:
        raise ValueError(
            "a comparison needs a measured process of the reference and one of the candidate"
        )
    rng = np.random.default_rng(seed)
    slow, fast = (np.array([np.median(p) for p in arm]) for arm in (base, ours))
    shift = float(hodges_lehmann(slow, fast))
    low = high = float("nan")
    if min(len(base), len(ours)) > 1:
        draws = hodges_lehmann(_resample(base, n_bootstrap, rng), _resample(ours, n_bootstrap, rng))
        tail = _widened_tail(level, len(base), len(ours))
        ordered = np.sort(draws)
        cut = int(tail * n_bootstrap)
        low, high = _exp(ordered[cut]), _exp(ordered[-1 - cut])
    return KernelComparison(
        speedup=_exp(shift),
        low=low,
        high=high,
        p_value=permutation_p(slow, fast, rng) if min(len(base), len(ours)) > 1 else None,
        n_reference=len(base),
        n_candidate=len(ours),
        n_crashed=sum(p is _CRASHED for p in ours),
    )


def hodges_lehmann(slow: FloatArray, fast: FloatArray) -> FloatArray:
    """Return the median of all differences slow - fast; shapes (..., n) and (..., m) give (...)."""
    differences = slow[..., :, None] - fast[..., None, :]
    flat = differences.reshape(*differences.shape[:-2], -1)
    return np.asarray(np.median(flat, axis=-1), dtype=np.float64)


def permutation_p(slow: FloatArray, fast: FloatArray, rng: np.random.Generator) -> float:
    """Return the one-sided p-value that `fast` is smaller, by exchanging labels of processes.

    Of log times where all are finite, of ranks after a crash. Exact up to `MAX_EXACT`
    assignments, else sampled with the observed one counted in (Phipson and Smyth 2010).
    """
    pooled = np.concatenate([fast, slow])
    if not np.isfinite(pooled).all():
        below = (pooled[None, :] < pooled[:, None]).sum(axis=1)
        pooled = below + (pooled[None, :] == pooled[:, None]).sum(axis=1) / 2.0
    n, observed = len(fast), pooled[: len(fast)].sum()
    slack = 1e-12 * max(1.0, float(np.abs(pooled).sum()))
    if comb(len(pooled), n) <= MAX_EXACT:
        sums = np.array(list(combinations(pooled, n))).sum(axis=1)
        return float((sums <= observed + slack).mean())
    order = rng.permuted(np.broadcast_to(pooled, (MAX_EXACT, len(pooled))), axis=1)
    extreme = int((order[:, :n].sum(axis=1) <= observed + slack).sum())
    return (extreme + 1) / (MAX_EXACT + 1)


_CRASHED = np.array([np.inf])


def _is_sound(times: Sequence[float]) -> bool:
    return len(times) > 0 and all(isfinite(t) and t > 0 for t in times)


def _resample(arm: Sequence[FloatArray], n: int, rng: np.random.Generator) -> FloatArray:
    """Draw processes, then iterations in each; return medians of shape (n, processes)."""
    medians = np.stack([np.median(rng.choice(p, (n, len(p))), axis=1) for p in arm])
    chosen = rng.integers(len(arm), size=(n, len(arm)))
    # A process drawn twice brings other iterations each time: any of its n draws will do.
    return np.asarray(medians[chosen, rng.integers(n, size=chosen.shape)], dtype=np.float64)


def _widened_tail(level: float, n: int, m: int) -> float:
    """Return the tail to cut from the bootstrap so that few processes give t-like limits.

    Source: Hesterberg 2015, What teachers should know about the bootstrap, section 4.6.
    """
    few = min(n, m)
    return normal_sf(sqrt(few / (few - 1)) * t_isf((1.0 - level) / 2.0, n + m - 2))


def _exp(x: float) -> float:
    return 0.0 if x == -np.inf else exp(x) if x < log(1e300) else float("inf")
