"""`evaluate` and `packs`: measure a candidate without a run; find, make and check benchmarks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novum.app.options import AsJson, Corpus, Problems, name_of_pack, split_of

if TYPE_CHECKING:
    from novum.benchmarks.evaluate import Bench
    from novum.benchmarks.pack import Pack
    from novum.settings import Settings

PackName = Annotated[str, typer.Argument(help="Id of an installed pack, or the folder of one.")]
ProfileName = Annotated[str | None, typer.Option(help="Size (default: the pack's own).")]
SandboxName = Annotated[
    str | None, typer.Option(help="auto, docker, bubblewrap or process (no isolation).")
]

MIN_WORDS = 20
"""Columns that words beside facts need; with fewer they follow as they come."""

packs = typer.Typer(
    name="packs", no_args_is_help=True, help="List, show, prepare, make and check benchmarks."
)


def evaluate(
    candidate: Annotated[
        Path, typer.Argument(help="Folder of the candidate, one file of it, or a start's name.")
    ],
    pack: Annotated[str, typer.Option(help="Pack to measure it on.")] = "nanochat",
    problems: Problems = None,
    corpus: Corpus = None,
    profile: ProfileName = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials, each with a seed of its own.")] = 1,
    split: Annotated[str, typer.Option(help="search, or sealed for a claim.")] = "search",
    fidelity: Annotated[str, typer.Option(help="full, or a cheaper setting.")] = "full",
    seed: Annotated[list[int] | None, typer.Option(help="Repeat a known seed.")] = None,
    sandbox: SandboxName = None,
    as_json: AsJson = False,
) -> None:
    """Measure one candidate on a pack, without a run.

    Example: novum evaluate my/candidate --pack nanochat --trials 5
    """
    from novum.benchmarks import evaluate as measuring
    from novum.benchmarks.pack import find_pack

    part = split_of(split)
    found = find_pack(name_of_pack(pack, problems, corpus))
    files = measuring.candidate_files(found, candidate)
    if remark := measuring.odd_start(found, candidate, profile):
        print(remark, file=sys.stderr)
    bench = ready_bench(found, profile, sandbox)
    results = []
    for drawn, result in measuring.evaluate(
        bench,
        files,
        trials,
        split=part,
        fidelity=fidelity,
        seeds=seed or (),
    ):
        results.append(result)
        if as_json:
            print(json.dumps(measuring.as_json(drawn, result)), flush=True)
        else:
            print(measuring.report(found, bench.profile, part, drawn, result), flush=True)
    if not as_json:
        print(measuring.summary(bench, results, part))
    raise typer.Exit(0 if measuring.is_sound(results) else 1)


@packs.command("list")
def list_packs(as_json: AsJson = False) -> None:
    """List the packs that are installed."""
    from novum.benchmarks.pack import installed_packs, load_pack

    found = {name: load_pack(folder) for name, folder in installed_packs().items()}
    profiles = {name: ", ".join(pack.manifest.profiles) for name, pack in found.items()}
    width = max(map(len, profiles.values()), default=0)
    for name, pack in found.items():
        manifest, folder = pack.manifest, pack.folder
        if as_json:
            print(json.dumps({"id": name, "folder": str(folder), "title": manifest.title}))
        else:
            facts = f"{name:12} {profiles[name]:{width}}  "
            print(_hung(facts, manifest.title))


def _hung(facts: str, words: str) -> str:
    """Facts with words beside them; on a terminal the words keep to their column."""
    import textwrap
    from shutil import get_terminal_size

    room = get_terminal_size().columns - len(facts)
    if not sys.stdout.isatty() or room < MIN_WORDS:
        return facts + words
    return facts + ("\n" + " " * len(facts)).join(textwrap.wrap(words, room))


@packs.command("show")
def show_pack(pack: PackName, as_json: AsJson = False) -> None:
    """Show what a pack measures, its sizes, starts and techniques.

    Example: novum packs show nanochat
    """
    from novum.benchmarks.moves import load_playbook
    from novum.benchmarks.pack import find_pack

    found = find_pack(pack)
    manifest = found.manifest
    techniques = load_playbook(found.folder / "playbook")
    if as_json:
        facts = manifest.model_dump(mode="json")
        print(json.dumps(facts | {"starts": found.starts, "techniques": list(techniques)}))
        return
    metric = manifest.metric
    print(f"{manifest.id}: {manifest.title}\n  {found.folder}")
    unit = f" ({metric.unit})" if metric.unit else ""
    label = ", self-reported" if manifest.self_reported else ""
    print(f"  metric      {metric.name}{unit}, {metric.better} is better{label}")
    print(f"  editable    {', '.join(manifest.editable)}")
    for name in manifest.profiles:
        first, *rest = _about_profile(found, name)
        print(f"  profile     {name}: {first}")
        for line in rest:
            print(f"{'':14}{line}")
    print(f"  techniques  {len(techniques)}")
    for id, technique in techniques.items():
        print(_hung(f"    {id:22} {technique.kind:13} ", technique.title))


def _about_profile(pack: Pack, name: str) -> list[str]:
    """What a trial of a profile may use, what it must reach, and from where a search starts."""
    profile = pack.profile(name)
    n, unit = (profile.gpus, "GPU") if profile.gpus else (profile.cores, "core")
    where = f"{n} {unit}{'' if n == 1 else 's'}"
    cheaper = f", also {', '.join(profile.fidelities)}" if profile.fidelities else ""
    text = profile.options.get("data", {}).get("corpus")
    told = [
        f"{profile.budget_s:g} s {profile.clock}, {where}, "
        f"{profile.memory_bytes / 2**30:g} GiB{cheaper}" + (f", corpus {text}" if text else "")
    ]
    for observed, required in profile.requirements.items():
        side = "at most" if required.better == "lower" else "at least"
        limits = (required.search, required.sealed)
        if None in limits:
            told.append(f"{observed} {side} a target that has not been measured yet")
        else:
            told.append(
                f"{observed} {side} {limits[0]:g} (sealed {limits[1]:g}), p < {required.alpha:g} "
                f"over {required.trials} declared trials"
            )
    usual, *others = pack.starts_of(profile)
    return [*told, f"from {usual}" + (f"; also {', '.join(others)}" if others else "")]


@packs.command("prepare")
def prepare_pack(
    pack: PackName,
    problems: Problems = None,
    corpus: Corpus = None,
    profile: ProfileName = None,
) -> None:
    """Make a pack's data now, so that a run finds it, and print its fingerprint.

    Example: novum packs prepare nanochat --corpus text:my/books
    """
    from novum.benchmarks.pack import find_pack

    found = find_pack(name_of_pack(pack, problems, corpus))
    size = found.profile(profile)
    cache = _settings().paths.cache.expanduser()
    hint = "minutes where there is much of it; `novum -v packs prepare` names the steps"
    print(f"preparing {found.id} {size.name} in {cache} ({hint}) ...", file=sys.stderr)
    print(found.grader(size, cache).prepare())


@packs.command("new")
def new_pack(
    name: Annotated[str, typer.Argument(help="Id of the new pack.")],
    folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(),
) -> None:
    """Write a pack that runs: a small curve fit to turn into your own benchmark.

    Example: novum packs new mine && novum packs check mine
    """
    from novum.benchmarks.template import write_pack

    path = write_pack(name, folder)
    print(path)
    print(f"next: novum packs check {path}    novum run {path} --experiments 5", file=sys.stderr)


@packs.command("check")
def check(pack: PackName, profile: ProfileName = None, sandbox: SandboxName = None) -> None:
    """Run the contract suite on a pack: it starts, is graded, catches its cheats, leaves nothing.

    Example: novum packs check ./mine
    """
    from rich.text import Text

    from novum.app.printing import console
    from novum.app.review import rejections
    from novum.benchmarks.contract import check_pack
    from novum.benchmarks.pack import find_pack

    out = console()
    found = find_pack(pack)
    n_broken = 0
    for one in check_pack(found, profile, lambda: ready_bench(found, profile, sandbox), rejections):
        n_broken += not one.is_kept
        mark = ("ok  ", "green") if one.is_kept else ("FAIL", "bold red")
        out.print(Text.assemble(mark, f" {one.name:32} {one.summary}"))
    if n_broken:
        raise typer.Exit(1)


def ready_bench(pack: Pack, profile: str | None, sandbox: str | None) -> Bench:
    """The pack ready to measure, in the sandbox and with the cache of the settings or as said."""
    from novum.benchmarks.evaluate import Bench

    settings = _settings()
    kind = sandbox or settings.sandbox.kind
    return Bench.prepare(pack, profile, sandbox=kind, cache=settings.paths.cache)


def _settings() -> Settings:
    from novum.settings import load_settings

    return load_settings()
