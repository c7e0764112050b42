"""Online false-discovery control: what level the next test gets, from the tests so far alone.

Pure folds over the recorded p-values, in the order the tests were *decided*: the state is derived
from the ledger and never stored. Both guarantee FDR <= q for independent p-values; where tests
share trials (one reference arm for several candidates) the guarantee is approximate, and in the
simulation of the tests it held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isnan, log, pow, sqrt
from typing import Literal

SAFFRON_LAMBDA = 0.5  # the paper's choice: p-values above it are taken for nulls
_ZETA_1_6 = 2.285765659  # sum over j of j^-1.6, so that SAFFRON's gammas sum to one


@dataclass(frozen=True)
class OnlineFdr:
    """A procedure and its target rate `q`, of which every method is a function of the p-values."""

    method: Literal["saffron", "lord++"] = "saffron"
    q: float = 0.10

    def __post_init__(self) -> None:
        if not 0 < self.q < 1 or self.method not in ("saffron", "lord++"):
            raise ValueError(f"choose `saffron` or `lord++` and a rate between 0 and 1, not {self}")

    def next_level(self, p_values: Sequence[float]) -> float:
        """Return the level of the next test, to be asked before it is run."""
        return self.levels([*p_values, 1.0])[-1]

    def levels(self, p_values: Sequence[float]) -> list[float]:
        """Return the level that each recorded test had; each depends on earlier ones only."""
        return [level for level, _ in self._fold(p_values)]

    def discoveries(self, p_values: Sequence[float]) -> list[bool]:
        """Return which recorded tests are discoveries; a NaN never is."""
        return [found for _, found in self._fold(p_values)]

    def _fold(self, p_values: Sequence[float]) -> list[tuple[float, bool]]:
        step = _saffron_level if self.method == "saffron" else _lord_level
        history: list[tuple[float, bool]] = []
        found: list[int] = []  # 1-based times of discoveries
        candidates = [0]  # how many of the first i p-values lay below lambda
        for t, p in enumerate((1.0 if isnan(p) else p for p in p_values), start=1):
            level = step(t, found, candidates, self.q)
            candidates.append(candidates[-1] + (p <= SAFFRON_LAMBDA))
            history.append((level, p <= level))
            if p <= level:
                found.append(t)
        return history


def _lord_level(t: int, found: Sequence[int], _: Sequence[int], q: float) -> float:
    """Level of test t.

    Source: LORD++, Ramdas, Yang, Wainwright and Jordan 2017 (arXiv:1710.00499), section 4, with
    w0 = q / 2 and the gammas of Javanmard and Montanari 2018 (arXiv:1603.09000), equation 31.
    """
    wealth = q / 2.0
    level = wealth * _lord_gamma(t)
    for k, time in enumerate(found):
        level += (q - wealth if k == 0 else q) * _lord_gamma(t - time)
    return level


def _lord_gamma(j: int) -> float:
    return 0.0722 * log(max(j, 2)) / (j * exp(sqrt(log(j))))


def _saffron_level(t: int, found: Sequence[int], candidates: Sequence[int], q: float) -> float:
    """Level of test t.

    Source: SAFFRON, Ramdas, Zrnic, Wainwright and Jordan 2018 (arXiv:1802.09098), algorithm 1,
    with lambda = .5, w0 = (1 - lambda) q / 2 and gammas proportional to j^-1.6.
    """
    pay = (1.0 - SAFFRON_LAMBDA) * q
    wealth = pay / 2.0
    level = wealth * _saffron_gamma(t - candidates[t - 1])
    for k, time in enumerate(found):
        waited = t - time - (candidates[t - 1] - candidates[time])
        level += (pay - wealth if k == 0 else pay) * _saffron_gamma(waited)
    return min(SAFFRON_LAMBDA, level)


def _saffron_gamma(j: int) -> float:
    return pow(j, -1.6) / _ZETA_1_6
