"""Grade a trial of a project: run its command in a copy, and read the number.

Every stage has a copy of its own. What a candidate may not edit is laid over it from the pack, so
that an edited test or grader counts for nothing; hidden files exist in the check, held-out and
grade stages only. Unless a grading program measures, the number is the candidate's own word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from novum.benchmarks.command.reading import NoNumber, Source, parse_source, read_number
from novum.benchmarks.command.spec import Spec, words
from novum.benchmarks.command.working_copy import changed_files, hand_over, make_copy, overlay
from novum.benchmarks.harness import artifact
from novum.benchmarks.harness.score import clean
from novum.benchmarks.harness.stages import python_variables
from novum.benchmarks.pack import Profile, digest_files, load_pack, read_tree
from novum.benchmarks.protocol import CandidateFailed, Graded, TrialContext
from novum.lab.counted import counted
from novum.lab.records import Outcome, Probe, TrialStatus
from novum.sandboxes.protocol import Confinement, Exit, ExitCause, Mount

HIDDEN = "hidden"
"""Folder of the pack with files that candidates never see."""
TAIL_CHARS = 2_000


class Grader:
    """Runs the commands of the pack's `Spec`."""

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        self.pack = load_pack(folder)
        self.profile = profile
        self.spec = Spec.of(profile)
        self.original = self.pack.start_files()
        hidden = folder / HIDDEN
        self.hidden = read_tree(hidden) if hidden.is_dir() else {}

    def prepare(self) -> str:
        """A digest of everything that is not the candidate's: the fixed files, the hidden ones, and
        the code that grades."""
        fixed = {p: c for p, c in self.original.items() if not self.pack.is_editable(p)}
        own = {p.name: p.read_bytes() for p in Path(__file__).parent.glob("*.py")}
        parts = {"fixed": fixed, "hidden": self.hidden, "grader": own}
        return digest_files({k: digest_files(v).encode() for k, v in parts.items()})

    def trial(self, context: TrialContext) -> Graded:
        """Build, run, and read the number; see `Grader` of the protocol."""
        if context.request.smoke:
            return self.smoke(context)
        left = self.copy(context, "project")
        budget_s = self.profile.budget(context.request.fidelity)
        ended = self.stage(context, "run", self.spec.run, left, budget_s)
        must_succeed("run", self.spec.run, ended)
        context.phase("ran", wall_s=ended.wall_s, cpu_s=ended.cpu_s)
        observed = usage(ended)
        probes = [self.probe_fixed(left)]
        numbers = {name: parse_source(text) for name, text in self.spec.guards.items()}
        observed |= {n: self.read(s, ended, left, observed) for n, s in numbers.items()}
        if self.spec.grade:
            return self.graded_outside(context, left, ended, observed, probes)
        final, folder = ended, left
        if context.request.split == "sealed":
            probes += self.probes_of_checks(context)
            if self.spec.heldout:
                final, folder = self.held_out(context, left)
        metric = self.read(self.spec.source, final, folder, observed)
        return Graded(metric, observed, tuple(probes), self.spec.is_self_reported)

    def smoke(self, context: TrialContext) -> Graded:
        """Show that the candidate builds and starts, and passes its checks.

        A command that takes longer than a smoke test may is cut off, which is no fault; then there
        is no number, and 0 stands in its place: smoke tests are never results.
        """
        folder = self.copy(context, "project")
        ended = self.stage(context, "run", self.spec.run, folder, self.profile.smoke_s)
        metric = 0.0
        if ended.cause is not ExitCause.TIMEOUT:
            must_succeed("run", self.spec.run, ended)
            if self.spec.source.kind != "harness" and not self.spec.grade:
                metric = self.read(self.spec.source, ended, folder, usage(ended))
        for command in self.spec.check:
            must_succeed("check", command, self.check(context, command))
        return Graded(metric, usage(ended), (), self.spec.is_self_reported)

    def probe_fixed(self, left: Path) -> Probe:
        """Whether the run left every file alone that nobody may edit."""
        fixed = {
            path: content
            for path, content in self.original.items()
            if not self.pack.is_editable(path) and path not in self.spec.rewrites
        }
        if changed := changed_files(left, fixed):
            text = f"the run rewrote {', '.join(changed[:5])}, which nobody may change"
            return Probe("fixed files", Outcome.FAIL, text, {"files": list(changed)})
        return Probe("fixed files", Outcome.PASS, f"{counted(len(fixed), 'file')} as before")

    def probes_of_checks(self, context: TrialContext) -> list[Probe]:
        """The checks as probes; a failed one makes the candidate invalid, not dishonest."""
        found = []
        for command in self.spec.check:
            try:
                must_succeed("check", command, self.check(context, command))
                found.append(Probe("check", Outcome.PASS, f"{command} succeeds"))
            except CandidateFailed as error:
                reason = str(error)[:400]
                found.append(Probe("check", Outcome.FAIL, reason, {"means": "invalid"}))
        return found

    def check(self, context: TrialContext, command: str) -> Exit:
        """A check in a fresh copy: nothing that the run left lies in its way."""
        folder = self.copy(context, "check", self.hidden)
        return self.stage(context, "check", command, folder, self.profile.score_s)

    def held_out(self, context: TrialContext, left: Path) -> tuple[Exit, Path]:
        """The held-out command in a fresh copy with the hidden files and what the run may keep."""
        artifact.collect(left, self.profile.limits(1).disk_bytes)
        folder = self.copy(context, "heldout", self.hidden)
        kept = hand_over(left, folder, self.original | self.hidden, self.spec.keep)
        context.phase("held-out", kept=len(kept))
        ended = self.stage(context, "heldout", self.spec.heldout, folder, self.profile.score_s)
        must_succeed("held-out command", self.spec.heldout, ended)
        return ended, folder

    def graded_outside(
        self,
        context: TrialContext,
        left: Path,
        ended: Exit,
        observed: dict[str, float],
        probes: list[Probe],
    ) -> Graded:
        """What the grading program says, run on the original project beside what the run left.

        What the run printed of itself becomes a claim.
        """
        claimed = {}
        try:
            claimed = {"metric": self.read(self.spec.source, ended, left, observed)}
        except CandidateFailed:
            pass  # it claims nothing
        if context.request.split == "sealed":
            probes += self.probes_of_checks(context)
        artifact.collect(left, self.profile.limits(1).disk_bytes)
        allow_running(left)
        folder = self.folder(context, "grade")
        make_copy(folder, self.original | self.hidden, self.pack.is_editable, self.spec.executable)
        said = self.stage(
            context,
            "grade",
            self.spec.grade,
            folder,
            self.profile.score_s,
            mounts=(Mount(left, left),),
            # a candidate must not know that it runs for a claim; who measures it has to
            env={"NOVUM_CANDIDATE": str(left), "NOVUM_SPLIT": context.request.split},
        )
        must_succeed("grading program", self.spec.grade, said)
        metric = self.read(self.spec.source, said, folder, observed)
        return Graded(metric, observed, tuple(probes), claimed=claimed)

    def copy(
        self, context: TrialContext, name: str, hidden: Mapping[str, bytes] | None = None
    ) -> Path:
        """A fresh, built copy of the candidate.

        Raises:
            CandidateFailed: it does not build.
        """
        folder = self.folder(context, name)
        files = overlay(context.request.files, self.original, self.pack.is_editable, hidden)
        make_copy(folder, files, self.pack.is_editable, self.spec.executable)
        if self.spec.build:
            ended = self.stage(context, "build", self.spec.build, folder, self.profile.allowance_s)
            must_succeed("build", self.spec.build, ended)
        return folder

    def folder(self, context: TrialContext, name: str) -> Path:
        """A place for a stage that was not used in this trial."""
        n = sum(1 for _ in context.scratch.iterdir())
        parent = context.scratch / f"{n}-{name}"
        parent.mkdir()
        return parent / self.pack.id

    def stage(
        self,
        context: TrialContext,
        name: str,
        command: str,
        folder: Path,
        limit_s: float,
        *,
        mounts: tuple[Mount, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> Exit:
        """Run one command to its end, its folder writable."""
        request = context.request
        seen = (Mount(Path(place), Path(place)) for place in self.spec.mounts)
        given = python_variables(self.profile.cores) | {"NOVUM_SEED": str(request.seed)}
        return context.run_to_end(
            name,
            Confinement(
                argv=words(command, request.seed),
                cwd=folder,
                mounts=(Mount(folder, folder, writable=True), *seen, *mounts),
                env=given | dict(env or {}),
                limits=self.profile.limits(limit_s),
            ),
        )

    def read(
        self, source: Source, ended: Exit, folder: Path, observed: Mapping[str, float]
    ) -> float:
        """A number of a stage that has ended.

        Raises:
            CandidateFailed: it is not there, or is none.
        """
        try:
            return read_number(source, clean(ended.stdout), clean(ended.stderr), folder, observed)
        except NoNumber as error:
            raise CandidateFailed(str(error)) from error


def usage(ended: Exit) -> dict[str, float]:
    """What the harness measured of a stage, from outside."""
    return {"wall_s": ended.wall_s, "cpu_s": ended.cpu_s, "peak_bytes": float(ended.peak_bytes)}


def must_succeed(what: str, command: str, ended: Exit) -> None:
    """Raise unless a command ended by itself with 0.

    Raises:
        CandidateFailed: saying how it ended, with the end of what it printed.
    """
    if ended.cause is ExitCause.EXITED and ended.code == 0:
        return
    said = clean(ended.stderr.strip() or ended.stdout.strip())[-TAIL_CHARS:] or "it said nothing"
    if ended.cause is ExitCause.TIMEOUT:
        text = f"the {what} was still running after {ended.wall_s:.0f} s: {command}"
        raise CandidateFailed(text, TrialStatus.TIMEOUT)
    how = f"exit code {ended.code}" if ended.cause is ExitCause.EXITED else str(ended.cause)
    raise CandidateFailed(f"the {what} failed ({how}): {command}\n{said}")


def allow_running(left: Path) -> None:
    """Give programs back the mode that stripping took from them."""
    for path in left.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4).startswith((b"\x7fELF", b"#!")):
                    path.chmod(0o755)
