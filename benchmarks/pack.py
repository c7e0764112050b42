"""A benchmark pack: its manifest, its folder, and how packs are found.

A pack is a folder with a `pack.toml`. It is named by its id when it ships with Novum or is
installed under the entry point group `novum.packs`, and by its path otherwise. Nothing in Novum
imports a pack by name.
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cached_property
from hashlib import sha256
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, ValidationError, field_validator

from novum.benchmarks.protocol import Grader
from novum.errors import PackError, UnknownName, UsageError
from novum.lab.records import Better, Split
from novum.sandboxes.protocol import Limits
from novum.tables import laid_over

ENTRY_POINTS = "novum.packs"


class Metric(BaseModel, extra="forbid", frozen=True):
    """What is measured."""

    name: str
    unit: str = ""
    better: Better
    digits: int = 4
    """Decimals that a reader should see."""
    noise: Literal["absolute", "relative"] = "absolute"
    """Whether the spread over seeds is an amount or, as that of times is, a share of the value."""


class Guardrail(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A second metric that a win must not pay with."""

    better: Better = "lower"
    margin: float = Field(gt=0)
    """Worsening that is allowed, as a fraction of the reference's mean."""


class Requirement(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """What a second value of the trials must reach before the metric counts at all.

    A claim is tested on its first `trials` trials, one-sided: their mean must be better than the
    limit with p below `alpha`. A search asks only that the mean does not miss it.
    """

    better: Better = "lower"
    search: float | None = None
    """Limit on the validation split; `None` where it has not been measured yet."""
    sealed: float | None = None
    """Limit on the sealed split, which is other text and so another number."""
    trials: int = Field(default=5, ge=3)
    """Trials declared in advance."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)

    def limit(self, split: Split) -> float | None:
        """What the trials of a split must reach; `None` where it has not been measured yet."""
        return self.sealed if split == "sealed" else self.search


class Fidelity(BaseModel, extra="forbid", frozen=True):
    """A cheaper setting of a profile, for screens."""

    budget_s: float = Field(gt=0)
    options: dict[str, Any] = {}


class Profile(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """One size of the benchmark: what a trial may use."""

    name: str = ""
    like: str = ""
    """The profile whose settings hold where this one says nothing."""
    clock: Literal["wall", "cpu"] = "wall"
    budget_s: float = Field(gt=0)
    """Budget on the clock, from `start()` to the last byte saved."""
    smoke_s: float = Field(default=3, gt=0)
    """Budget of a smoke test, which only shows that the code works."""
    allowance_s: float = Field(default=60, gt=0)
    """Wall seconds for imports, compilation and warm-up before `start()`."""
    free_cpu_s: float | None = Field(default=None, gt=0)
    """On the clock `cpu`: CPU seconds before `start()` that are not counted. What is used beyond is
    budget: who trains in the warm-up, on whatever text, pays for it. Nothing means all are free."""
    score_s: float = Field(default=120, gt=0)
    """Wall seconds that the score stage may take."""
    cores: int = Field(default=1, ge=1)
    """Cores of one slot; a trial runs with that many threads, pinned."""
    gpus: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=1)
    """Processes of one trial that run side by side; with several GPUs there is one for each."""
    memory_bytes: int = 4 << 30
    pids: int = 64
    file_bytes: int = 1 << 30
    output_bytes: int = 1 << 18
    noise_trials: int = Field(default=5, ge=2)
    """Baseline trials before any search."""
    fidelities: dict[str, Fidelity] = {}
    max_jump: float | None = Field(default=None, gt=0)
    """In place of the manifest's, where this size has other starts."""
    requirements: dict[str, Requirement] = {}
    """By the name of the observed value: without it the metric does not count."""
    starts: tuple[str, ...] = ()
    """Starts that are meant for this size, the usual one first; empty means all of them."""
    options: dict[str, Any] = {}
    """The grader's own settings (corpus, batch, problem set, ...)."""

    def limits(self, wall_s: float) -> Limits:
        """The sandbox limits of one stage that may last `wall_s`."""
        return Limits(
            wall_s=wall_s,
            memory_bytes=self.memory_bytes,
            pids=self.pids,
            file_bytes=self.file_bytes,
            output_bytes=self.output_bytes,
        )

    def budget(self, fidelity: str) -> float:
        """Budget in seconds at a fidelity.

        Raises:
            UnknownName: the profile has no such fidelity.
        """
        if fidelity == "full":
            return self.budget_s
        try:
            return self.fidelities[fidelity].budget_s
        except KeyError:
            known = ", ".join(["full", *self.fidelities])
            raise UnknownName(
                f"profile {self.name} has no fidelity {fidelity!r}; it has {known}"
            ) from None


class Win(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """What counts as progress."""

    min_gain: float = Field(default=0.0, ge=0)
    """Smallest gain worth announcing, as a fraction of the reference."""
    alpha_headline: float = Field(default=0.01, gt=0, lt=0.5)
    alpha_list: float = Field(default=0.05, gt=0, lt=0.5)
    looks: tuple[int, ...] = (2, 4, 8)
    """Trials per arm at which a race is looked at."""
    confirm_trials: int | None = Field(default=None, ge=2)
    """Trials per arm of a confirmation, declared beforehand and looked at once; by default it is
    looked at as a race is."""


class Manifest(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """`pack.toml`."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    title: str
    metric: Metric
    editable: tuple[str, ...] = Field(min_length=1)
    """Globs of the files that a candidate may change, relative to the start's folder."""
    default_start: str
    default_profile: str = "cpu"
    replicate: Literal["seed", "process"] = "seed"
    """What one more measurement is: a new seed, or only a new process."""
    self_reported: bool = False
    """The metric is printed by the candidate; every view says so."""
    perturb: Literal["constants", "numbers"] = "constants"
    """What the playbook brain turns when techniques run dry: top-level UPPERCASE numbers of Python
    files, or every named number of the editable files (`benchmarks/numbers.py`)."""
    deterministic: bool = False
    """One seed gives the same metric to the last digit."""
    profiles: dict[str, Profile]
    win: Win = Win()
    guardrails: dict[str, Guardrail] = {}
    floor: float | None = None
    """Values beyond this (below, where lower is better) are quarantined as impossible."""
    max_jump: float = Field(default=0.5, gt=0)
    """A single-step gain above this fraction of the reference is quarantined."""

    @field_validator("profiles", mode="before")
    @classmethod
    def complete(cls, profiles: Any) -> Any:
        """Give each profile that is `like` another what it does not say itself."""
        if not isinstance(profiles, dict):
            return profiles
        return {name: completed(name, profiles) for name in profiles}


def completed(name: str, profiles: Mapping[str, Any]) -> Any:
    """One profile's table over the one that it is `like`.

    Raises:
        ValueError: there is no such profile, or it is itself like another.
    """
    own = profiles[name]
    like = own.get("like") if isinstance(own, dict) else None
    if not like:
        return own
    base = profiles.get(like)
    if not isinstance(base, dict) or like == name:
        raise ValueError(f"profile {name} is like {like!r}, which is no other profile of this pack")
    if base.get("like"):
        raise ValueError(f"profile {name} is like {like}, which is itself like another")
    return laid_over(base, own)


@dataclass(frozen=True)
class Pack:
    """A benchmark, read from its folder."""

    folder: Path
    manifest: Manifest
    problems: Path | None = None
    """Folder of somebody else's problems that stand in for the pack's own."""
    given_starts: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Starts that belong to those problems, in the place of the folder's."""

    @property
    def id(self) -> str:
        return self.manifest.id

    def on(self, problems: Path) -> Pack:
        """This pack with problems of somebody else's, in a format that its `adopt.py` reads.

        Raises:
            UsageError: the pack has only its own problems, or cannot read these.
        """
        module = self.module("adopt")
        if module is None:
            raise UsageError(f"pack {self.id} works on what it brings; it takes nothing else.")
        return cast(Pack, module.adopt(self, problems))

    def profile(self, name: str | None = None) -> Profile:
        """The profile of this name, or the default one.

        Raises:
            UnknownName: the pack has no such profile.
        """
        name = name or self.manifest.default_profile
        if name not in self.manifest.profiles:
            known = ", ".join(self.manifest.profiles)
            raise UnknownName(f"pack {self.id} has no profile {name!r}; it has {known}")
        return self.manifest.profiles[name].model_copy(update={"name": name})

    @cached_property
    def starts(self) -> tuple[str, ...]:
        """Names of the starting solutions."""
        if self.given_starts:
            return tuple(sorted(self.given_starts))
        root = self.folder / "start"
        return tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] not in "._"))

    def starts_of(self, profile: Profile) -> tuple[str, ...]:
        """Names of the starts that are meant for a profile, the usual one first."""
        default = self.manifest.default_start
        return profile.starts or (default, *(s for s in self.starts if s != default))

    def start_files(self, name: str | None = None) -> dict[str, bytes]:
        """Every file of a starting solution by its relative path.

        Raises:
            UnknownName: the pack has no such start.
        """
        name = name or self.manifest.default_start
        if name not in self.starts:
            raise UnknownName(
                f"pack {self.id} has no start {name!r}; it has {', '.join(self.starts)}"
            )
        given = self.given_starts.get(name)
        return read_tree(self.folder / "start" / name) if given is None else dict(given)

    def is_editable(self, path: str) -> bool:
        """Whether a candidate may change this file."""
        return any(fnmatch(path, glob) for glob in self.manifest.editable)

    def out_of_scope(self, files: Mapping[str, bytes]) -> tuple[str, ...]:
        """Files that a candidate may not change and that differ from the start nearest to it."""
        fixed = {p: sha256(content).digest() for p, content in files.items()}
        fixed = {path: digest for path, digest in fixed.items() if not self.is_editable(path)}
        differing = (
            tuple(sorted({path for path, _ in start.items() ^ fixed.items()}))
            for start in self._fixed_files
        )
        return min(differing, key=len)

    @cached_property
    def _fixed_files(self) -> tuple[dict[str, bytes], ...]:
        """Digests of the files of each start that nobody may change."""
        return tuple(
            {
                path: sha256(content).digest()
                for path, content in self.start_files(start).items()
                if not self.is_editable(path)
            }
            for start in self.starts
        )

    @cached_property
    def task(self) -> str:
        """What the researcher is told."""
        return (self.folder / "task.md").read_text()

    def module(self, name: str) -> ModuleType | None:
        """The pack's own `NAME.py`, loaded under a private name; `None` where it has none."""
        path = self.folder / f"{name}.py"
        if not path.is_file():
            return None
        return load_module(path, f"novum_pack_{self.id.replace('-', '_')}_{name}")

    def grader(self, profile: Profile, cache: Path) -> Grader:
        """The pack's grader for a profile.

        Raises:
            PackError: `grade.py` is missing or has no class `Grader`.
        """
        module = self.module("grade")
        if module is None or not hasattr(module, "Grader"):
            raise PackError(
                f"{self.folder / 'grade.py'} must define a class `Grader`; see docs/packs.md"
            )
        return cast(Grader, module.Grader(self.folder, profile, cache))

    @cached_property
    def digest(self) -> str:
        """Digest of every file that decides a grade: manifest, grader, rules and their modules."""
        return digest_files(
            {
                k: v
                for k, v in read_tree(self.folder).items()
                if "/" not in k and k.endswith((".py", ".toml"))
            }
        )


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every regular file below `folder` by its relative path; caches and links are left out."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink() and "__pycache__" not in p.parts
    }


def digest_files(contents: Mapping[str, bytes]) -> str:
    """A digest of names and contents, in any order of insertion."""
    total = sha256()
    for name in sorted(contents):
        total.update(f"{len(name)}:{name}:{len(contents[name])}:".encode() + contents[name])
    return total.hexdigest()


def load_module(path: Path, name: str) -> ModuleType:
    """Import a file of a pack (trusted code: the user installed it) under a private name."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=None)
    if spec is None or spec.loader is None:
        raise PackError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pydantic look annotations up by module name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_pack(folder: Path) -> Pack:
    """Read a pack from its folder.

    Raises:
        PackError: the manifest is missing or wrong; the message names the key.
    """
    path = folder / "pack.toml"
    if not path.is_file():
        raise PackError(
            f"{folder} is not a pack: it has no pack.toml. `novum packs new NAME` writes one."
        )
    try:
        manifest = Manifest.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise PackError(f"{path}: {lines}") from error
    pack = Pack(folder.resolve(), manifest)
    if manifest.default_start not in pack.starts:
        raise PackError(
            f"{path}: default_start {manifest.default_start!r} is not a folder of start/"
        )
    for name, profile in manifest.profiles.items():
        if missing := set(profile.starts) - set(pack.starts):
            raise PackError(f"{path}: profile {name} names starts that are not there: {missing}")
    return pack


def installed_packs() -> dict[str, Path]:
    """Folders of the packs that ship with Novum or are installed, by id."""
    shipped = Path(str(files("novum.benchmarks")))
    found = {p.parent.name: p.parent for p in sorted(shipped.glob("*/pack.toml"))}
    for point in entry_points(group=ENTRY_POINTS):
        spec = importlib.util.find_spec(point.value)
        if spec is not None and spec.submodule_search_locations:
            found[point.name] = Path(next(iter(spec.submodule_search_locations)))
    return found


def find_pack(name: str) -> Pack:
    """The pack of this id, or at this path; `PACK:FOLDER` is the pack on the problems of a folder.

    Raises:
        UnknownName: neither exists; the message lists what does.
        UsageError: the pack cannot work on those problems.
    """
    packs = installed_packs()
    if name in packs:
        return load_pack(packs[name])
    if (Path(name) / "pack.toml").is_file():
        return load_pack(Path(name))
    base, colon, problems = name.partition(":")
    if colon and problems:
        return find_pack(base).on(Path(problems))
    if Path(name).exists():
        raise UnknownName(
            f"{name} is no pack: a pack is a folder with a pack.toml.\n"
            "`novum packs new NAME` writes one; `novum init` makes one of an existing project."
        )
    known = ", ".join(sorted(packs)) or "none"
    near = get_close_matches(name, packs, 1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise UnknownName(
        f"no pack {name!r}.{guess} Installed: {known}. A folder with a pack.toml works too."
    )


def lasting_name(name: str, pack: Pack) -> str:
    """The name by which `find_pack` finds this pack from any folder."""
    base = name.partition(":")[0]
    where = base if base in installed_packs() else str(pack.folder)
    return where if pack.problems is None else f"{where}:{pack.problems}"
