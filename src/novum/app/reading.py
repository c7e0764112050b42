"""Open the records of a run for looking, and find in them what a person names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

from novum.app.ideas import Idea
from novum.app.story import Story, read_story
from novum.errors import UnknownName
from novum.lab.archive import Archive
from novum.lab.ledger import Ledger
from novum.lab.records import Candidate, Trial
from novum.lab.run import RunFolder, find_run
from novum.settings import load_settings


@dataclass(frozen=True, slots=True)
class Reading:
    """A run, opened read-only."""

    run: RunFolder
    ledger: Ledger
    archive: Archive
    story: Story

    def find(self, name: str) -> Idea | Candidate | Trial:
        """What a name means: `champion`, `best`, `start`, `p12`, `#12`, `t33`, a tree's beginning.

        Raises:
            UnknownName: nothing of this run goes by it, or several things do.
        """
        story = self.story
        if name in ("champion", "best", "start"):
            return self._by_role(name)
        if (idea := story.idea(name)) is not None:
            return idea
        if (number := name.removeprefix("#")).isdigit():
            for idea in story.ideas.values():
                if idea.number == int(number):
                    return idea
        if name in story.trials:
            return story.trials[name]
        for verdict in story.verdicts:
            if verdict.id == name and (idea := story.idea(verdict.proposal)) is not None:
                return idea
        return self._by_tree(name)

    def owner(self, candidate: Candidate) -> Idea | None:
        """The idea that made a candidate; `None` for a start."""
        return self.story.idea(candidate.proposal)

    def _by_role(self, role: str) -> Candidate:
        story = self.story
        if role == "start" and story.candidates:
            return next(iter(story.candidates.values()))
        if role == "champion" and story.champion is not None:
            return story.candidates[story.champion[0]]
        if role == "best" and story.best:
            return story.candidates[story.best[-1].tree]
        missing = "confirmed champion" if role == "champion" else role
        raise UnknownName(
            f"run {self.run.name} has no {missing} yet."
            f"\n`novum status {to_type(self.run.path)}` shows what there is."
        )

    def _by_tree(self, name: str) -> Candidate:
        found = [c for c in self.story.candidates.values() if c.tree.startswith(name.lower())]
        if len(found) == 1 and len(name) >= 4:
            return found[0]
        if len(found) > 1:
            trees = ", ".join(c.tree[:12] for c in found[:5])
            raise UnknownName(f"{name!r} could be any of {trees}; give more characters.")
        close = get_close_matches(name, [*self.story.ideas, *self.story.trials], n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise UnknownName(
            f"run {self.run.name} has nothing named {name!r}.{hint}\n"
            "Names are: champion, best, start, a proposal (p3 or #3), a trial (t7), a tree hash."
        )


def runs_folder(given: Path | None) -> Path:
    """The folder of the runs: as given, or as the settings say."""
    return given if given is not None else load_settings().paths.runs


def to_type(folder: str | Path) -> str:
    """How the command line finds a run from here: its name, or its path where a name is not enough.

    `--runs` of the command that made the run is not there when the next one is typed.
    """
    path = Path(folder)
    is_usual = runs_folder(None).absolute() == path.absolute().parent
    return path.name if is_usual else quote(str(path))


@contextmanager
def reading(name: str | None, runs: Path | None) -> Iterator[Reading]:
    """Open a run by name or path, or the latest one.

    Raises:
        LedgerCorrupt: its events were changed so that they tell no story; the message says where.
    """
    run = find_run(runs_folder(runs), name)
    with run.ledger(read_only=True) as ledger:
        try:
            story = read_story(run.info, ledger)
        except (KeyError, TypeError, ValueError):
            ledger.verify(run.anchor())
            raise  # the chain holds, so it is our reading that is wrong
        yield Reading(run, ledger, run.archive(read_only=True), story)
