"""The audit: from recorded facts to a verdict, cheap steps first.

`precheck` reads a change before anything is run. `judge` decides from recorded facts alone which
trials to run next or what the result means. Both are pure: they can be replayed, and `novum verify`
recomputes every verdict of an evidence bundle with them.

    precheck -> SMOKE -> one SEARCH trial -> gate -> RACE -> promising -> CONFIRM -> confirmed

Every step leaves evidence. A FAIL convicts (or quarantines), a CONFIRM costs the candidate the
sealed confirmation at the stricter level before anybody builds on it, a NOTE is for the reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from novum.benchmarks.pack import Pack
from novum.evals.arms import noise_arms, own, reference_trials, score, stage_arms
from novum.evals.checks.change import check_change
from novum.evals.checks.claims import check_claims
from novum.evals.checks.completeness import check_completeness
from novum.evals.checks.guardrails import check_guardrails
from novum.evals.checks.luck import MIN_NOISE_DF, gate, measure_noise, run_confirm, run_race
from novum.evals.checks.physics import check_physics
from novum.evals.checks.probed import check_probes, is_fault
from novum.evals.checks.requirements import hold_on_average, prove, screen
from novum.evals.checks.scope import check_scope
from novum.evals.checks.seal import check_seal
from novum.evals.checks.variation import check_variation
from novum.evals.evidence import found
from novum.evals.facts import Facts, Judgement, MoreTrials, Terms
from novum.evals.rules.scan import check_rules
from novum.evals.significance import NoiseModel
from novum.evals.verdicts import Ruling, label_static, lost_race, trials_wanted, worth
from novum.lab.records import Evidence, Label, Outcome, Purpose

__all__ = ["Facts", "Judgement", "MoreTrials", "Terms", "judge", "precheck"]

Files = Mapping[str, bytes]

RETRY_SDS = 0.75
"""A first trial this far above the reference, yet below the gate, earns one second look."""


def precheck(
    pack: Pack,
    candidate_files: Files,
    parent_files: Files,
    start_files: Files,
    *,
    proposal: str = "",
    tree: str = "",
    harness_sealed: str = "",
    harness_now: str = "",
) -> list[Evidence]:
    """Read a change before any trial: scope, what changes at all, the rules, the harness's digest.

    `start_files` are the pack's own; `parent_files` those that the candidate was made from. A FAIL
    among the records means that no trial should be spent on it; `judge` turns it into a verdict.
    The two digests are the harness's at the start of the run and now.
    """
    records = [
        check_scope(pack, candidate_files, parent_files, start_files, proposal, tree),
        check_change(candidate_files, parent_files, proposal, tree),
        check_rules(pack, candidate_files, start_files, proposal, tree),
    ]
    if harness_sealed or harness_now:
        records.append(check_seal(harness_sealed, harness_now, proposal, tree))
    return records


def judge(facts: Facts) -> Judgement:
    """A verdict, or the trials that are missing for one.

    Ask again with the grown facts after each batch of trials. The answer depends on the recorded
    facts only, so asking twice, or after a crash, changes nothing.
    """
    ruling = Ruling(facts)
    for record in facts.static:
        ruling.add(record)
    failed = [e for e in facts.static if e.outcome is Outcome.FAIL]
    if failed:
        return ruling.rule(label_static(failed), "; ".join(e.summary for e in failed)[:600])
    stopped = _examine(ruling)
    if stopped is not None:
        return stopped
    noise = measure_noise(facts)
    if facts.aim != "certify":
        searched = _search(ruling, noise)
        if searched is not None:
            return searched
        raced = _race(ruling, noise)
        if raced is not None:
            return raced
    return _confirm(ruling, noise)


def decide_static(static: Sequence[Evidence]) -> Label | None:
    """The label that a precheck alone settles; `None` where trials are worth running."""
    failed = [e for e in static if e.outcome is Outcome.FAIL]
    return label_static(failed) if failed else None


def _examine(ruling: Ruling) -> Judgement | None:
    """Everything that is read off the trials themselves, before luck is weighed."""
    facts = ruling.facts
    if facts.terms.self_reported:
        ruling.add(
            found(
                facts.proposal.id,
                facts.candidate.tree,
                "provenance",
                Outcome.NOTE,
                "the metric is self-reported: the candidate printed it, nobody measured it",
            )
        )
    if not own(facts):
        return None
    probes = ruling.add(check_probes(facts))
    ended = ruling.add(check_completeness(facts))
    if probes.outcome is Outcome.FAIL:
        return ruling.rule(Label.INVALID if is_fault(probes) else Label.HACK, probes.summary)
    if ended.outcome is Outcome.FAIL:
        return ruling.rule(Label.INVALID, ended.summary)
    ruling.add(check_claims(facts))
    if facts.terms.self_reported:
        varies = ruling.add(check_variation(facts))
        if varies.outcome is Outcome.FAIL:
            return ruling.rule(Label.QUARANTINED, varies.summary)
    physics = ruling.add(check_physics(facts))
    if physics.outcome is Outcome.FAIL:
        return ruling.rule(Label.QUARANTINED, physics.summary)
    return None


def _search(ruling: Ruling, noise: NoiseModel) -> Judgement | None:
    """SEARCH: one trial against what is known of the reference; `None` when it is worth a race."""
    facts = ruling.facts
    first = own(facts, Purpose.SEARCH)
    if not first:
        return ruling.ask(
            1, 0, Purpose.SEARCH, "search", "one trial to see whether it is worth more"
        )
    if noise.df < MIN_NOISE_DF or not reference_trials(facts):
        n = max(1, facts.terms.noise_trials - len(noise_arms(facts).get(facts.reference, ())))
        return ruling.ask(0, n, Purpose.NOISE, "search", "the reference's noise is not measured")
    met = screen(facts)
    if met is not None and ruling.add(met).outcome is Outcome.FAIL:
        return ruling.rule(Label.MISSED, met.summary)
    result, record = gate(facts, noise)
    ruling.add(record)
    if stage_arms(facts, Purpose.RACE, "search").candidate or (
        result.outcome == "promising" and result.gain_sds >= facts.race_at
    ):
        return None
    interval = (result.gain - 2 * noise.sd, result.gain + 2 * noise.sd)
    if result.outcome == "dropped":
        return ruling.rule(Label.REGRESSION, result.reason, gain=result.gain, interval=interval)
    if len(first) == 1 and result.gain_sds >= retry_at(facts.race_at):
        return ruling.ask(1, 0, Purpose.SEARCH, "search", f"{result.reason}: one second look")
    wanted = trials_wanted(result.gain, noise, facts.terms.win.alpha_list)
    if result.gain > 0:
        reason = f"{result.reason}; {wanted}"
        return ruling.rule(Label.INCONCLUSIVE, reason, gain=result.gain, interval=interval)
    return ruling.rule(Label.NOISE, result.reason, gain=result.gain, interval=interval)


def retry_at(race_at: float) -> float:
    """Sds from which a first trial that is not raced earns a second look: a little below a race."""
    return max(RETRY_SDS, race_at - RETRY_SDS)


def _race(ruling: Ruling, noise: NoiseModel) -> Judgement | None:
    """RACE on fresh trials of both arms; `None` when it was won and has to be confirmed."""
    facts = ruling.facts
    tested = run_race(facts, noise)
    result = tested.result
    if result.n:
        ruling.add(tested.evidence)
    if result.outcome == "continue":
        n, m = result.more_candidate, result.more_reference
        return ruling.ask(n, m, Purpose.RACE, "search", result.reason)
    if result.outcome != "accept":
        return lost_race(ruling, tested, noise, "search")
    met = hold_on_average(facts)
    if met is not None and ruling.add(met).outcome is Outcome.FAIL:
        return ruling.rule_tested(Label.MISSED, met.summary, tested, "search")
    rails = ruling.add(check_guardrails(facts))
    if rails.outcome is Outcome.FAIL:
        return ruling.rule_tested(Label.REGRESSION, rails.summary, tested, "search")
    if ruling.is_suspicious or facts.aim == "confirm":
        return None
    gain = worth(facts, tested)
    return ruling.rule_tested(Label.PROMISING, result.reason, tested, "search", gain=gain)


def _confirm(ruling: Ruling, noise: NoiseModel) -> Judgement:
    """CONFIRM or CERTIFY on fresh seeds and the sealed split."""
    facts = ruling.facts
    purpose = Purpose.CERTIFY if facts.aim == "certify" else Purpose.CONFIRM
    tested = run_confirm(facts, noise, is_suspicious=ruling.is_suspicious)
    result = tested.result
    if result.n:
        ruling.add(tested.evidence)
    if result.outcome == "continue":
        n, m = result.more_candidate, result.more_reference
        why = f"{result.reason}, on text that no search has seen"
        return ruling.ask(n, m, purpose, "sealed", why)
    if result.outcome != "accept":
        return lost_race(ruling, tested, noise, "sealed")
    required = prove(facts, purpose, "sealed")
    if required is not None:
        ruling.add(required.evidence)
        if required.n_missing:
            why = f"{required.evidence.summary}; the requirement is tested on all of them"
            return ruling.ask(required.n_missing, 0, purpose, "sealed", why)
        if required.is_missed:
            return ruling.rule_tested(Label.MISSED, required.evidence.summary, tested, "sealed")
    rails = ruling.add(check_guardrails(facts))
    if rails.outcome is Outcome.FAIL:
        return ruling.rule_tested(Label.REGRESSION, rails.summary, tested, "sealed")
    base = [s for t in tested.arms.reference if (s := score(t)) is not None]
    smallest = facts.terms.win.min_gain * abs(fmean(base))
    if result.estimate < smallest:
        reason = f"real, but below the smallest gain worth announcing ({smallest:.6g})"
        return ruling.rule_tested(Label.INCONCLUSIVE, reason, tested, "sealed")
    return ruling.rule_tested(Label.CONFIRMED, result.reason, tested, "sealed")
