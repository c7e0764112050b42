"""What every pack has to keep: `novum packs check` runs this on any folder.

A pack starts, is graded, repeats where it says so, survives broken candidates, catches the cheats
it ships, and leaves nothing behind. Each check returns what it found; none of them raises.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from novum.benchmarks.evaluate import Bench, failed_probes
from novum.benchmarks.moves import Technique, apply_move, load_playbook
from novum.benchmarks.pack import Pack, Profile, digest_files, read_tree
from novum.benchmarks.protocol import TrialResult
from novum.benchmarks.toolbox import toolbox_of
from novum.errors import DoesNotApply, NovumError
from novum.lab.counted import counted
from novum.lab.records import TrialStatus

SEED = 1_234_567
Files = Mapping[str, bytes]
Review = Callable[[Pack, Files], list[str]]
"""What a reading of a candidate's code rejects, as messages; the audit is one."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a pack has to keep, and whether it does."""

    name: str
    is_kept: bool
    summary: str


def check_pack(
    pack: Pack, profile: str | None, bench: Callable[[], Bench], review: Review | None = None
) -> Iterator[Check]:
    """Run the suite, cheap checks first; yields each check as it ends.

    `bench` prepares the pack; it is called once, after what can be seen without it.
    """
    before = digest_files(read_tree(pack.folder))
    yield _guard("says what it is", lambda: _words(pack))
    yield _guard("editable files", lambda: _editable(pack))
    yield _guard("playbook", lambda: _playbook(pack))
    yield _guard("tools", lambda: _tools(pack))
    made: list[Bench] = []
    prepared = _guard("prepares its data", lambda: _prepare(bench, made))
    yield prepared
    if not made:
        return
    ready = made[0]
    with tempfile.TemporaryDirectory(prefix="novum-check-") as folder:
        scratch = Path(folder)
        for start in pack.starts_of(ready.profile):
            yield _guard(f"start {start} runs", partial(_smoke, ready, start, scratch))
        yield from _graded(ready, scratch)
        yield _guard("survives a broken candidate", lambda: _broken(ready, scratch))
        yield from _cheats(ready, scratch, review)
        for name, files in shipped_cheats(pack, usual_start(ready), "honest").items():
            yield _guard(f"passes honest {name}", partial(_passes, ready, files, scratch, review))
        yield _guard("leaves nothing behind", lambda: _traces(pack, before, scratch))


def _words(pack: Pack) -> str:
    missing = [name for name in ("task.md", "README.md") if not _has_text(pack.folder / name)]
    if missing:
        raise AssertionError(f"{' and '.join(missing)} missing or empty")
    metric = pack.manifest.metric
    return f"{pack.manifest.title}: {metric.name}, {metric.better} is better"


def _has_text(path: Path) -> bool:
    return path.is_file() and bool(path.read_text().strip())


def _editable(pack: Pack) -> str:
    for start in pack.starts:
        if not any(pack.is_editable(path) for path in pack.start_files(start)):
            raise AssertionError(f"start {start} has no file that a candidate may change")
    return f"{', '.join(pack.manifest.editable)} in {counted(len(pack.starts), 'start')}"


def _playbook(pack: Pack) -> str:
    techniques = load_playbook(pack.folder / "playbook")
    starts = [pack.start_files(start) for start in pack.starts]
    useless = [t.id for t in techniques.values() if not any(_applies(t, s) for s in starts)]
    if len(useless) == len(techniques) and techniques:
        raise AssertionError(f"none of {len(techniques)} techniques applies to a start")
    note = f"; {', '.join(useless)} need another before them" if useless else ""
    return f"{len(techniques)} techniques{note}"


def _tools(pack: Pack) -> str:
    names = [tool.name for tool in toolbox_of(pack).tools]
    return ", ".join(names) or "none of its own"


def _applies(technique: Technique, files: Files) -> bool:
    try:
        apply_move(technique, files)
    except DoesNotApply:
        return False
    return True


def _prepare(bench: Callable[[], Bench], made: list[Bench]) -> str:
    ready = bench()
    first, second = ready.grader.prepare(), ready.grader.prepare()
    if not first or first != second:
        raise AssertionError(f"two calls of prepare() gave {first!r} and {second!r}")
    made.append(ready)
    return f"fingerprint {first[:12]}, the same twice"


def _smoke(bench: Bench, start: str, scratch: Path) -> str:
    result = bench.trial(bench.pack.start_files(start), SEED, smoke=True, scratch=scratch)
    _must_finish(result)
    return f"{result.observed.get('trial_s', math.nan):.1f} s"


def _graded(bench: Bench, scratch: Path) -> Iterator[Check]:
    pack, files = bench.pack, usual_start(bench)
    results: list[TrialResult] = []

    def grade() -> str:
        results.append(bench.trial(files, SEED, scratch=scratch))
        _must_finish(results[0])
        if bad := failed_probes(results[0]):
            raise AssertionError(f"the start fails the probes {', '.join(bad)}")
        floor = pack.manifest.floor
        if floor is not None and results[0].metric == floor:
            raise AssertionError("the start stands at the floor")
        return f"{pack.manifest.metric.name} {results[0].metric:.{pack.manifest.metric.digits}f}"

    def repeat() -> str:
        again = bench.trial(files, SEED, scratch=scratch)
        if again.metric != results[0].metric:
            raise AssertionError(f"one seed gave {results[0].metric!r} and {again.metric!r}")
        return "one seed, one value"

    graded = _guard("is graded", grade)
    yield graded
    if graded.is_kept and pack.manifest.deterministic:
        yield _guard("is deterministic", repeat)


def _broken(bench: Bench, scratch: Path) -> str:
    files = usual_start(bench)
    broken = {
        k: b"this is not code (" if bench.pack.is_editable(k) else v for k, v in files.items()
    }
    result = bench.trial(broken, SEED, smoke=True, scratch=scratch)
    if result.status is TrialStatus.FINISHED:
        raise AssertionError("files that hold no code were graded")
    if "grader failed" in result.error:
        raise AssertionError(result.error)
    return f"{result.status}: {result.error.splitlines()[0][:80] if result.error else ''}"


def _cheats(bench: Bench, scratch: Path, review: Review | None) -> Iterator[Check]:
    cheats = shipped_cheats(bench.pack, usual_start(bench))
    if not cheats:
        yield Check("ships a cheat", False, "cheats/ is empty: write one that the grader catches")
    for name, files in cheats.items():
        yield _guard(f"catches cheat {name}", partial(_caught, bench, files, scratch, review))


def usual_start(bench: Bench) -> dict[str, bytes]:
    """Files of the start that a run of this size begins with."""
    return bench.pack.start_files(bench.pack.starts_of(bench.profile)[0])


def unmet(profile: Profile, result: TrialResult) -> list[str]:
    """Requirements of the profile that one trial misses, with its value and the limit."""
    found = []
    for name, required in profile.requirements.items():
        value, limit = result.observed.get(name), required.search
        sign = 1 if required.better == "lower" else -1
        if value is None or limit is None or not sign * value <= sign * limit:
            shown = "nothing" if value is None else f"{value:.4g}"
            found.append(f"{name} {shown}, limit {limit}")
    return found


def shipped_cheats(
    pack: Pack, start: Files | None = None, kind: str = "cheats"
) -> dict[str, dict[str, bytes]]:
    """Files of each cheat of a pack: `cheats/NAME.py` stands in for the one editable file of the
    start, a folder `cheats/NAME/` is laid over it. `kind` may be `honest` for what must pass."""
    folder = pack.folder / kind
    start = dict(pack.start_files() if start is None else start)
    editable = [path for path in start if pack.is_editable(path)]
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and path.name[0] not in "._":
            found[path.name] = start | read_tree(path)
        elif path.suffix == ".py" and path.name[0] != "_":
            found[path.stem] = start | {editable[0]: path.read_bytes()}
    return found


def _caught(bench: Bench, files: Files, scratch: Path, review: Review | None) -> str:
    if review is not None and (reasons := review(bench.pack, files)):
        return f"by reading: {reasons[0][:80]}"
    result = bench.trial(files, SEED, scratch=scratch)
    if result.status is not TrialStatus.FINISHED:
        return f"{result.status}: {result.error.splitlines()[0][:80] if result.error else ''}"
    if bad := failed_probes(result):
        return f"by probe {', '.join(bad)}"
    if missed := unmet(bench.profile, result):
        return f"by requirement: {missed[0]}"
    raise AssertionError(f"it was graded {result.metric} and no probe objected")


def _passes(bench: Bench, files: Files, scratch: Path, review: Review | None) -> str:
    if review is not None and (reasons := review(bench.pack, files)):
        raise AssertionError(f"it was rejected by reading: {reasons[0]}")
    result = bench.trial(files, SEED, scratch=scratch)
    _must_finish(result)
    if bad := failed_probes(result):
        raise AssertionError(f"it fails the probes {', '.join(bad)}")
    return f"graded {result.metric:.{bench.pack.manifest.metric.digits}f}"


def _traces(pack: Pack, before: str, scratch: Path) -> str:
    if digest_files(read_tree(pack.folder)) != before:
        raise AssertionError(f"files of {pack.folder} were changed")
    if left := list(scratch.iterdir()):
        raise AssertionError(f"{left[0].name} was left in the scratch folder")
    running = [p for p in psutil.Process().children(recursive=True) if _is_of(p, scratch)]
    if running:
        raise AssertionError(f"process {running[0].pid} still runs")
    return "no file, no process"


def _is_of(process: psutil.Process, scratch: Path) -> bool:
    try:
        return str(scratch) in " ".join(process.cmdline()) or str(scratch) in process.cwd()
    except psutil.Error:
        return False


def _must_finish(result: TrialResult) -> None:
    if result.status is not TrialStatus.FINISHED:
        tail = result.log.strip().splitlines()[-3:]
        raise AssertionError(" | ".join([f"{result.status}: {result.error}", *tail])[:400])


def _guard(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except AssertionError as error:
        return Check(name, False, str(error))
    except NovumError as error:
        return Check(name, False, f"{type(error).__name__}: {error}")
    except Exception as error:  # a pack's own code may raise anything; that is a finding
        return Check(name, False, f"its code raised {type(error).__name__}: {error}")
