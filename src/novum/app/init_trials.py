"""The trial runs of `novum init`: does it run, what does it report, how much does that vary."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from novum.errors import UsageError
from novum.lab.counted import counted

if TYPE_CHECKING:
    from novum.benchmarks.pack import Pack
    from novum.benchmarks.protocol import TrialResult
    from novum.evals.significance import NoiseModel

GAINS = (0.01, 0.02, 0.05)
SHORT_S = 60.0
"""Trials under a minute are worth eight measurements of the start, longer ones five."""
LOG_LINES = 12


@dataclass(frozen=True)
class Measured:
    """What the trial runs have shown."""

    values: tuple[float, ...]
    seconds: float
    """Of the slowest run of the command."""
    trial_s: float
    """Of the slowest trial, with everything around the command."""
    log: str
    """Of the first trial."""
    rewritten: tuple[str, ...]
    """Files outside the editable ones that the command itself changes."""

    @property
    def varies(self) -> bool:
        """Whether two runs ever reported different numbers."""
        return len(set(self.values)) > 1

    @property
    def noise(self) -> NoiseModel:
        """The noise over the runs."""
        from novum.evals.significance import NoiseModel

        return NoiseModel.from_arms([self.values])

    @property
    def digits(self) -> int:
        """Decimals that show the noise, or four significant ones."""
        size = self.noise.sd if self.varies else abs(fmean(self.values)) / 1000
        return min(9, max(0, 2 - floor(log10(size)))) if size > 0 else 4

    @property
    def noise_trials(self) -> int:
        """How often a run should measure the start before it tries anything."""
        return 8 if self.seconds < SHORT_S else 5


def measure(pack: Pack, n: int, sandbox: str, cache: Path, tell: Callable[[str], None]) -> Measured:
    """Run the untouched project `n` times, held-out command and checks once.

    Raises:
        UsageError: it does not run; the message has the end of its log.
    """
    from novum.benchmarks.evaluate import Bench

    bench = Bench.prepare(pack, None, sandbox=sandbox, cache=cache)
    files = pack.start_files()
    values: list[float] = []
    seconds, trial_s, log = 0.0, 0.0, ""
    rewritten: tuple[str, ...] = ()
    for i in range(n):
        result = bench.trial(files, secrets.randbits(31))
        values.append(_value(result, "the command"))
        seconds = max(seconds, result.observed["wall_s"])
        trial_s = max(trial_s, result.observed["trial_s"])
        log = log or result.log
        rewritten = rewritten or _rewritten(result)
        tell(f"  run {i + 1} of {n}: {values[-1]:.6g}, {result.observed['wall_s']:.1f} s")
    smoke = bench.trial(files, secrets.randbits(31), smoke=True)
    _value(smoke, "the smoke test of the unchanged project")
    sealed = bench.trial(files, secrets.randbits(31), split="sealed")
    tell(f"  for a claim: {_value(sealed, 'the trial for a claim'):.6g}")
    return Measured(tuple(values), seconds, trial_s, log, rewritten)


def _value(result: TrialResult, what: str) -> float:
    failed = [p for p in result.probes if p.outcome == "fail" and p.name != "fixed files"]
    if result.metric is not None and not failed:
        return result.metric
    reason = "; ".join(p.summary for p in failed) or result.error
    tail = "\n".join(result.log.strip().splitlines()[-LOG_LINES:])
    said = f"\nIts output ends with:\n{tail}" if tail and tail not in reason else ""
    raise UsageError(f"{what} does not give a number here: {reason}{said}{_hint(reason)}")


def _hint(reason: str) -> str:
    """What is most often behind a failure in a sandbox."""
    if "No module named" in reason or "not found" in reason or "No such file" in reason:
        return (
            "\nInside, only the project, Novum's own Python and the system's programs are to be "
            "seen: install what is missing beside Novum, or show a folder with --mount."
        )
    if "onnection" in reason or "resolve" in reason:
        return "\nThere is no network inside: fetch data before, and show it with --mount."
    return ""


def _rewritten(result: TrialResult) -> tuple[str, ...]:
    probe = next((p for p in result.probes if p.name == "fixed files"), None)
    return tuple(probe.detail.get("files", ())) if probe is not None else ()


def report(measured: Measured, name: str, better: str, self_reported: bool) -> str:
    """What the runs say, for a person."""
    values = measured.values
    mean = fmean(values)
    label = " (self-reported: the project says so itself)" if self_reported else ""
    show = f"{{:.{measured.digits}f}}".format
    lines = [f"{name}{label}: {', '.join(map(show, values))}; {better} is better"]
    if not measured.varies:
        lines += [
            "It did not vary. Either it is deterministic, and then one trial tells; or the command",
            "ignores its seed: let it read {seed} or $NOVUM_SEED, or luck with one fixed seed will",
            "look like progress.",
        ]
        return "\n".join(lines)
    noise = measured.noise
    share = f" ({100 * noise.sd / abs(mean):.2g} %)" if mean else ""
    runs = counted(len(values), "run")
    lines.append(f"mean {show(mean)}, sd {show(noise.sd)}{share} over {runs}")
    for gain in GAINS:
        if not mean:
            break
        wanted = noise.trials_needed(gain * abs(mean))
        cost = 2 * (wanted or 0) * measured.trial_s
        text = (
            f"about {counted(wanted, 'trial')} an arm ({_time(cost)} on one slot)"
            if wanted
            else "more than 10,000 trials"
        )
        lines.append(f"  to show a gain of {gain:.0%} takes {text}")
    high = noise.sd_high
    if isfinite(high) and high > 2 * noise.sd:
        lines.append(
            f"{len(values)} runs say little about noise: it may be {high / noise.sd:.1f} times as "
            f"large. A run measures the start {measured.noise_trials} times first."
        )
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{ceil(seconds)} s" if seconds < 120 else f"{seconds / 60:.0f} min"
