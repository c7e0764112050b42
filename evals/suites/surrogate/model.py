"""A model of measured sets of techniques: what each adds, and what pairs add beyond that.

Ridge regression of the logarithm of the metric on techniques and pairs, each group with a penalty
of its own, beside blocks of time that shift all trials of a machine alike. Penalties are those with
the least error in cross-validation whose folds keep a set's repeats together. The noise is that of
repeats; it differs between sets with and without the strongest technique, and so do the weights.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import log
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TABLE = Path(__file__).parent / "nanochat_cpu.json"
N_FOLDS = 10
N_BLOCKS = 5
"""Blocks of time within which a machine is taken to be steady."""
SINGLE = (0.03, 0.1, 0.3)
PAIR = (0.0, 0.01, 0.02, 0.05)
STRONG_PAIR = (0.0, 0.05, 0.15)
"""Sds, as fractions of the metric, of what techniques, pairs, and pairs with the strongest one add:
the penalties to choose from."""
DRIFT = 0.05
"""The same of blocks of time."""
Sds = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One finished trial."""

    names: frozenset[str]
    fidelity: str
    metric: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The fitted model. Logarithms of the metric, lower is better."""

    names: tuple[str, ...]
    strongest: str
    sds: Sds
    """Of techniques, pairs, and pairs with the strongest."""
    noise: Mapping[bool, float]
    """Sd of one trial, as a fraction of the metric, without and with the strongest technique."""
    error: float
    """Root mean square error of sets that were left out, as a fraction of the metric."""
    additive_error: float
    """The same of the best model without pairs."""
    spread: float
    """Standard deviation of what is to be predicted."""
    kinds: Mapping[str, str]
    _known: Array
    _dual: Array
    _mean: float

    def log_metric(self, ideas: frozenset[str]) -> float:
        """The expected logarithm of the metric of a set of techniques."""
        x = indicators([ideas], self.names)
        strong = self.names.index(self.strongest)
        k = _weighted(_parts(x, self._known, strong), self.sds)
        return self._mean + float((k @ self._dual)[0])


def read_table(path: Path = TABLE) -> tuple[list[Row], dict[str, str], dict[str, object]]:
    """Finished trials, the kinds of the techniques, and how it was measured."""
    table = json.loads(path.read_text())
    rows = [Row(frozenset(names), f, metric, at) for names, f, metric, at in table["trials"]]
    return rows, table["kinds"], table["measured"]


def indicators(sets: Sequence[frozenset[str]], names: Sequence[str]) -> Array:
    """Which techniques each set has, shape (sets, names)."""
    return np.array([[float(name in s) for name in names] for s in sets])


def _parts(a: Array, b: Array, strong: int) -> tuple[Array, Array, Array]:
    """Techniques, pairs and pairs with the strongest that two lists of sets share, each (a, b)."""
    shared = a @ b.T
    both = np.outer(a[:, strong], b[:, strong])
    others = shared - both
    return shared, others * (others - 1.0) / 2.0, both * others


def _weighted(parts: tuple[Array, Array, Array], sds: Sds) -> Array:
    """The prior covariance of what sets are worth."""
    return np.asarray(sum(sd**2 * part for sd, part in zip(sds, parts, strict=True)))


def fit(rows: Sequence[Row], kinds: Mapping[str, str]) -> Fit:
    """Fit the trials at full fidelity, and choose the penalties by cross-validation."""
    full = sorted((r for r in rows if r.fidelity == "full"), key=lambda r: r.at_s)
    names = tuple(sorted({name for r in full for name in r.names}))
    y = np.array([log(r.metric) for r in full])
    x = indicators([r.names for r in full], names)
    strong = int(np.argmax([abs(_contrast(x[:, j], y)) for j in range(len(names))]))
    is_strong = x[:, strong] > 0
    noise = {flag: noise_of([r for r, s in zip(full, is_strong, strict=True) if s == flag])
             for flag in (False, True)}  # fmt: skip
    errors = np.array([noise[bool(s)] for s in is_strong])
    block = np.arange(len(full)) * N_BLOCKS // len(full)
    # What shifts all trials of a time alike hits those that train less deep in proportion.
    drift = DRIFT**2 * (block[:, None] == block[None, :]) * np.outer(errors, errors)
    drift /= noise[False] ** 2
    parts = _parts(x, x, strong)
    folds = _folds(full)

    def error_of(sds: Sds) -> float:
        inner = _weighted(parts, sds) + drift
        guess = np.zeros(len(y))
        for fold in range(N_FOLDS):
            out = folds == fold
            dual, mean = _solve(inner[np.ix_(~out, ~out)], errors[~out], y[~out])
            guess[out] = mean + inner[np.ix_(out, ~out)] @ dual
        return float(np.sqrt(np.mean((guess - y) ** 2)))

    tried = [(error_of(sds), sds) for sds in product(SINGLE, PAIR, STRONG_PAIR)]
    error, sds = min(tried)
    additive = min(e for e, s in tried if s[1:] == (0.0, 0.0))
    dual, mean = _solve(_weighted(parts, sds) + drift, errors, y)
    return Fit(
        names,
        names[strong],
        sds,
        noise,
        error,
        additive,
        float(y.std()),
        dict(kinds),
        x,
        dual,
        mean,
    )


def noise_of(rows: Sequence[Row]) -> float:
    """Pooled sd of the logarithm among repeats of one set."""
    groups: dict[frozenset[str], list[float]] = defaultdict(list)
    for row in rows:
        groups[row.names].append(log(row.metric))
    squares = sum(float(np.var(g)) * len(g) for g in groups.values())
    df = sum(len(g) - 1 for g in groups.values())
    return float(np.sqrt(squares / df)) if df else 0.01


def correlation(rows: Sequence[Row], cheap: str) -> tuple[float, float, int]:
    """Pearson and Spearman correlation of a cheap fidelity's means with the full ones', over sets
    that were measured at both; and how many sets those are."""
    means: dict[str, dict[frozenset[str], list[float]]] = {"full": {}, cheap: {}}
    for row in rows:
        if row.fidelity in means:
            means[row.fidelity].setdefault(row.names, []).append(log(row.metric))
    both = sorted(means["full"].keys() & means[cheap].keys(), key=sorted)
    a, b = (np.array([np.mean(means[f][s]) for s in both]) for f in ("full", cheap))
    if len(both) < 3:
        return float("nan"), float("nan"), len(both)
    first, second = (np.argsort(np.argsort(v)).astype(np.float64) for v in (a, b))
    ranked = float(np.corrcoef(first, second)[0, 1])
    return float(np.corrcoef(a, b)[0, 1]), ranked, len(both)


def _contrast(has: Array, y: Array) -> float:
    return float(y[has > 0].mean() - y[has == 0].mean()) if 4 < has.sum() < len(y) - 4 else 0.0


def _folds(rows: Sequence[Row]) -> NDArray[np.int64]:
    sets = sorted({r.names for r in rows}, key=sorted)
    Random("folds").shuffle(sets)
    at = {names: i % N_FOLDS for i, names in enumerate(sets)}
    return np.array([at[r.names] for r in rows])


def _solve(inner: Array, errors: Array, y: Array) -> tuple[Array, float]:
    """Weights of the known trials (generalised least squares), and the level of the start."""
    inverse = np.linalg.inv(inner + np.diag(errors**2))
    mean = float((inverse @ y).sum() / inverse.sum())
    return inverse @ (y - mean), mean
