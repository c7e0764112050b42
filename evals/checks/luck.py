"""Progress or luck: the gate, the race and the confirmation as steps of the audit.

Each step gives what significance says of the recorded trials, as evidence. Numbers in `detail` are
what a reader needs to check it by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, sqrt

from novum.evals.arms import (
    Arms,
    noise_arms,
    own,
    reference_trials,
    score,
    stage_arms,
)
from novum.evals.evidence import found
from novum.evals.facts import Facts
from novum.evals.significance import (
    Design,
    GateResult,
    NoiseModel,
    OnlineFdr,
    RaceResult,
    ShrunkGain,
    race,
    search_gate,
    shrink,
)
from novum.lab.counted import counted
from novum.lab.records import Evidence, Outcome, Purpose, Split, Trial

MIN_NOISE_DF = 1
FDR = OnlineFdr()


@dataclass(frozen=True, slots=True)
class Tested:
    """A race or confirmation: its result, its trials and its evidence."""

    result: RaceResult
    arms: Arms
    error: float
    """Standard error of the estimated gain."""
    evidence: Evidence


def measure_noise(facts: Facts) -> NoiseModel:
    """The noise of the metric, from trials that are not this proposal's."""
    arms = noise_arms(facts)
    scores = {tree: tuple(map(score, trials)) for tree, trials in arms.items()}
    if facts.terms.noise == "relative":
        scores = _at_level(scores, scores.get(facts.reference, ()))
    return _noise(
        tuple(scores.values()), tuple(tuple(t.seed for t in trials) for trials in arms.values())
    )


def _at_level(
    scores: dict[str, tuple[float | None, ...]], reference: tuple[float | None, ...]
) -> dict[str, tuple[float | None, ...]]:
    """Each arm's scores, scaled so that their mean is the reference's."""
    level = _mean(reference)
    scaled = {}
    for tree, arm in scores.items():
        own = _mean(arm)
        factor = level / own if level and own else 1.0
        scaled[tree] = tuple(None if s is None else s * factor for s in arm)
    return scaled


def _mean(scores: tuple[float | None, ...]) -> float:
    known = [s for s in scores if s is not None and isfinite(s)]
    return sum(known) / len(known) if known else 0.0


@lru_cache(maxsize=16)  # asked again after each batch of trials, while the arms stay the same
def _noise(
    scores: tuple[tuple[float | None, ...], ...], seeds: tuple[tuple[int, ...], ...]
) -> NoiseModel:
    return NoiseModel.from_arms(scores, seeds=seeds)


def gate(facts: Facts, noise: NoiseModel) -> tuple[GateResult, Evidence]:
    """Compare the SEARCH trials with the reference's; proves nothing, decides what is worth more.

    Raises:
        ValueError: no noise, no reference trial or no SEARCH trial was measured yet.
    """
    first = own(facts, Purpose.SEARCH)
    before = _known_then(reference_trials(facts), first)
    scores = [score(t) for t in first]
    result = search_gate([score(t) for t in before], scores, noise, better=facts.terms.better)
    error = noise.sd * sqrt(1.0 / len(first) + 1.0 / len(before))
    evidence = found(
        facts.proposal.id,
        facts.candidate.tree,
        "gate",
        Outcome.PASS if result.outcome == "promising" else Outcome.NOTE,
        result.reason,
        trials=[t.id for t in (*before, *first)],
        said=result.outcome,
        gain=_plain(result.gain),
        error=_plain(error),
        noise_sd=noise.sd,
        noise_df=noise.df,
    )
    return result, evidence


def run_race(facts: Facts, noise: NoiseModel) -> Tested:
    """The RACE on fresh trials of the search split."""
    design = Design(alpha=facts.terms.win.alpha_list, n_looks=_n_looks(facts))
    return _test(facts, noise, Purpose.RACE, "search", design, "race")


def run_confirm(facts: Facts, noise: NoiseModel, *, is_suspicious: bool) -> Tested:
    """The CONFIRM or CERTIFY stage on fresh trials of the sealed split.

    Nothing but the two arms is trusted: a candidate noisier than the noise model would otherwise be
    confirmed by luck more often than the level says.
    A headline is tested at its own level. An entry of the list, or an extra check of a suspicious
    candidate, is tested at the level that online false-discovery control leaves for it, fixed by
    the confirmations that were decided before this one began.
    """
    win = facts.terms.win
    if facts.aim == "certify":
        purpose, level = Purpose.CERTIFY, win.alpha_headline
    else:
        purpose = Purpose.CONFIRM
        began = [t.launched_s for t in stage_arms(facts, purpose, "sealed").candidate]
        decided = [
            h.confirm_p
            for h in sorted(facts.history, key=lambda h: h.ended_s)
            if h.confirm_p is not None and (not began or h.ended_s <= min(began))
        ]
        own_alpha = min(win.alpha_list, win.alpha_headline) if is_suspicious else win.alpha_list
        level = min(own_alpha, FDR.next_level(decided))
    design = Design(alpha=level, futility=(), declared=win.confirm_trials)
    return _test(facts, noise, purpose, "sealed", design, "confirm", trusts_noise=False)


def shrunken(facts: Facts, gain: float, error: float) -> ShrunkGain:
    """What a gain is worth, given everything that the run has tried."""
    past = [h for h in facts.history if h.gain is not None and h.error >= 0]
    gains = [*(h.gain for h in past if h.gain is not None), gain]
    errors = [*(h.error for h in past), error]
    return shrink(gains, errors).ideas[-1]


def _test(
    facts: Facts,
    noise: NoiseModel,
    purpose: Purpose,
    split: Split,
    design: Design,
    step: str,
    *,
    trusts_noise: bool = True,
) -> Tested:
    arms = stage_arms(facts, purpose, split)
    result = race(
        [score(t) for t in arms.reference],
        [score(t) for t in arms.candidate],
        noise if trusts_noise and noise.df >= MIN_NOISE_DF else None,
        design,
        better=facts.terms.better,
    )
    error = _standard_error(result, noise)
    evidence = found(
        facts.proposal.id,
        facts.candidate.tree,
        step,
        Outcome.PASS if result.outcome == "accept" else Outcome.NOTE,
        f"{counted(result.n, 'trial')} an arm on the {split} split: {result.reason}",
        trials=arms.ids,
        said=result.outcome,
        gain=_plain(result.estimate),
        error=_plain(error),
        low=_plain(result.low),
        high=_plain(result.high),
        p_value=result.p_value,
        alpha=result.alpha,
        z=_plain(result.z),
        bound=_plain(result.bound),
        method=result.method,
        n=result.n,
        n_crashed=result.n_crashed,
        noise_sd=_plain(noise.sd if noise.df else float("nan")),
        noise_df=noise.df,
    )
    return Tested(result, arms, error, evidence)


def _n_looks(facts: Facts) -> int:
    return max(1, min(3, len(facts.terms.win.looks)))


def _known_then(reference: tuple[Trial, ...], first: tuple[Trial, ...]) -> tuple[Trial, ...]:
    """Reference trials that had ended when the first trial of the idea did; all, if none had."""
    ended = max((t.ended_s for t in first), default=0.0)
    return tuple(t for t in reference if t.ended_s <= ended) or reference


def _standard_error(result: RaceResult, noise: NoiseModel) -> float:
    half = (result.high - result.low) / 2.0
    if result.method != "rank" and isfinite(half) and result.bound > 0:
        return half / result.bound
    if noise.df and result.n:
        return noise.sd * sqrt(2.0 / result.n)
    return 0.0


def _plain(value: float) -> float | None:
    return value if isfinite(value) else None
