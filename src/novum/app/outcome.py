"""The last lines of a run: champion against baseline, cost, folder, and what to type next."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from rich.text import Text

from novum.app.numbers import better_by, duration, percent_range
from novum.app.reading import to_type
from novum.app.story import Story
from novum.lab.counted import counted
from novum.lab.records import Json, Label
from novum.lab.run import RunFolder

DONE, BUDGET_SPENT, REJECTED = 0, 3, 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has come to."""

    run: str
    folder: str
    state: str
    """`confirmed`, `not confirmed`, `nothing better`, `unfinished`."""
    metric: str
    baseline: float | None
    champion: str
    reference_mean: float | None
    champion_mean: float | None
    gain: float | None
    """Certified, as a fraction of the reference; positive is better."""
    interval: tuple[float, float] | None
    p_value: float | None
    n_ideas: int
    n_trials: int
    wall_s: float
    trial_s: float
    tokens: float
    cost_usd: float
    unpriced_tokens: float
    """Tokens of models whose price nobody stated; they are not in `cost_usd`."""

    @property
    def exit_code(self) -> int:
        """What `novum run` returns."""
        if self.state == "confirmed":
            return DONE
        return REJECTED if self.state == "not confirmed" else BUDGET_SPENT

    def json(self) -> Json:
        """One object for a program."""
        return {name: getattr(self, name) for name in self.__slots__}


def outcome_of(run: RunFolder, story: Story) -> Outcome:
    """The outcome of a run as its records stand."""
    test = story.certification
    verdict = test.verdict if test is not None else None
    is_confirmed = verdict is not None and verdict.label is Label.CONFIRMED
    if not story.ended and not is_confirmed:
        state = "unfinished"
    elif verdict is None:
        state = "nothing better"
    else:
        state = "confirmed" if is_confirmed else "not confirmed"
    gain, interval = story.relative(verdict) if verdict is not None else (None, None)
    arms: tuple[float | None, float | None] = (None, None)
    if test is not None and verdict is not None:
        arms = (
            _mean(story.arm(test, verdict.reference)),
            _mean(story.arm(test, verdict.tree)),
        )
    return Outcome(
        run=run.name,
        folder=str(run.path),
        state=state,
        metric=story.metric.title(),
        baseline=_mean(story.baseline),
        champion=verdict.tree if verdict is not None and is_confirmed else "",
        reference_mean=arms[0],
        champion_mean=arms[1],
        gain=gain,
        interval=interval,
        p_value=verdict.p_value if verdict is not None else None,
        n_ideas=len(story.ideas),
        n_trials=len(story.trials),
        wall_s=story.wall_s,
        trial_s=story.spent.get("trial_s", 0.0),
        tokens=story.spent.get("tokens", 0.0),
        cost_usd=story.spent.get("cost_usd", 0.0) + story.spent.get("usd", 0.0),
        unpriced_tokens=story.spent.get("unpriced_tokens", 0.0),
    )


def closing_lines(
    outcome: Outcome, story: Story, *, reason: str = "", is_busy: bool = False
) -> Text:
    """The outcome in a few lines for a person; `is_busy` while a process works on the run."""
    show, name = story.metric.show, to_type(outcome.folder)
    text = Text()
    if outcome.state == "confirmed":
        text.append("Confirmed: ", "bold green")
        text.append(
            f"{story.metric.title()} {show(outcome.reference_mean)} -> "
            f"{show(outcome.champion_mean)}, {better_by(outcome.gain)}"
        )
    elif outcome.state == "not confirmed":
        text.append("Not confirmed: ", "bold yellow")
        text.append("the best candidate did not hold up on fresh seeds and sealed data; ")
        text.append(f"there it was {better_by(outcome.gain)}")
    elif outcome.state == "nothing better" and not outcome.n_ideas:
        text.append("No idea was tried", "bold yellow")
        if outcome.baseline is not None:
            text.append(f"; the start was measured ({_start_value(story)}) ")
            text.append("and nothing was left for more")
        text.append(f".\n`novum resume {name} --wall TIME` gives it more")
        if outcome.baseline is not None:
            text.append("; `novum run ... --noise needed` measures the start only when it matters")
    elif outcome.state == "nothing better":
        text.append("Nothing better than the start was found", "bold yellow")
        text.append(f"; it stays at {_start_value(story)}")
    else:
        text.append("Unfinished", "bold yellow")
        if story.best:
            best = story.best[-1]
            text.append(f"; best so far {show(best.mean)} ± {show(best.error)} (not confirmed)")
    if outcome.interval is not None:
        text.append(f" (interval {percent_range(outcome.interval)}")
        text.append(f", p = {outcome.p_value:.2g})" if outcome.p_value is not None else ")")
    text.append(
        f"\n{counted(outcome.n_ideas, 'idea')} tried in {counted(outcome.n_trials, 'trial')}, "
        f"{duration(outcome.wall_s)} of work"
    )
    if outcome.tokens:
        text.append(f", {outcome.tokens:,.0f} tokens, {outcome.cost_usd:.2f} USD")
    if outcome.unpriced_tokens:
        text.append(f" and {outcome.unpriced_tokens:,.0f} tokens of unknown price")
    if reason:
        text.append(f"; {reason}")
    if outcome.champion:
        text.append(f"\nChampion  {outcome.champion[:10]}")
    text.append(f"\nFolder    {outcome.folder}\nNext      ")
    words = "report {}" if story.ended else "resume {}"
    words = "status {} --follow" if is_busy else words
    text.append("novum " + words.format(name), "bold")
    if outcome.champion:
        text.append(f"    novum show champion {name}")
    return text


def _start_value(story: Story) -> str:
    """`2.8180 bits per byte`, `3.20 ms`: one noun after the number."""
    metric, value = story.metric, _mean(story.baseline)
    is_named = not metric.unit or "/" in metric.unit
    label = " [self-reported]" if metric.self_reported else ""
    return f"{metric.show(value)} {metric.name if is_named else metric.unit}{label}"


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None
