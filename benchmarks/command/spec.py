"""What a project's pack says of its commands: the `options` of its profile."""

from __future__ import annotations

import shlex
from typing import Self

from pydantic import BaseModel, ValidationError, model_validator

from novum.benchmarks.command.reading import Source, parse_source
from novum.benchmarks.pack import Profile
from novum.errors import PackError, UsageError

SHELL = frozenset("|&;<>$`*?~#\n")
"""Characters that a shell has to read."""


class Spec(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Commands run in a copy of the project. `{seed}` in them is the trial's seed, which is in
    `$NOVUM_SEED` as well."""

    run: str
    """What is measured."""
    metric: str
    """Where the number stands: a pattern with one group for what the command prints (the last match
    counts), `json:FILE:a.0.b` for a file it writes, or `harness:wall_s`, `harness:cpu_s`,
    `harness:peak_bytes` for what the harness measures from outside."""
    build: str = ""
    """Run before every stage that runs the candidate's code; its time is not measured."""
    check: tuple[str, ...] = ()
    """Commands that must succeed with the original tests and what else a candidate may not edit."""
    heldout: str = ""
    """What is run for a claim after `run`, beside the hidden files; the metric is read from it."""
    grade: str = ""
    """A program that measures from outside, on the original project, where no code of the candidate
    is imported; `$NOVUM_CANDIDATE` is the folder that the run left, `$NOVUM_SPLIT` is `sealed` for
    a claim and `search` otherwise."""
    guards: dict[str, str] = {}
    """Further numbers to read, by the names of `[guardrails]`; written as `metric` is."""
    keep: tuple[str, ...] = ()
    """Globs of files that `run` makes and `heldout` needs (weights); code is never kept."""
    executable: tuple[str, ...] = ()
    """Files that may be executed."""
    rewrites: tuple[str, ...] = ()
    """Files that nobody may edit and that the command itself rewrites."""
    mounts: tuple[str, ...] = ()
    """Folders of this machine that the commands read (a data set, a virtual environment)."""

    @model_validator(mode="after")
    def can_be_read(self) -> Self:
        """Every source parses, and what the harness measures has no second measurer."""
        for text in (self.metric, *self.guards.values()):
            try:
                parse_source(text)
            except UsageError as error:
                raise ValueError(str(error)) from error
        if self.grade and self.source.kind == "harness":
            raise ValueError("a grading program and a metric of the harness exclude one another")
        if self.grade and self.heldout:
            raise ValueError(
                "a grading program measures claims too: let it use other data where $NOVUM_SPLIT "
                "is `sealed`, in place of a held-out command"
            )
        return self

    @property
    def source(self) -> Source:
        """Where the metric stands."""
        return parse_source(self.metric)

    @property
    def is_self_reported(self) -> bool:
        """Whether the number comes from a process that has run the candidate's code."""
        return not self.grade and self.source.kind != "harness"

    @classmethod
    def of(cls, profile: Profile) -> Spec:
        """The spec in a profile.

        Raises:
            PackError: a key is unknown, missing or wrong.
        """
        try:
            return cls.model_validate(profile.options)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise PackError(f"options of profile {profile.name}: {'; '.join(lines)}") from error


def words(command: str, seed: int) -> tuple[str, ...]:
    """A command as arguments; one that needs a shell is given to `sh -c`.

    Raises:
        UsageError: it has an open quote.
    """
    filled = command.replace("{seed}", str(seed))
    if SHELL & set(filled):
        return ("sh", "-c", filled)
    try:
        return tuple(shlex.split(filled))
    except ValueError as error:
        raise UsageError(f"the command {command!r} cannot be read: {error}.") from error
