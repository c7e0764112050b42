"""`ablate`: what each technique of a candidate is worth."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from novum.app.options import AsJson, Corpus, Problems, name_of_pack, split_of
from novum.app.pack_commands import ProfileName, SandboxName, ready_bench
from novum.app.run_options import Slots, Wall, seconds


def ablate(
    moves: Annotated[
        list[str], typer.Argument(help="Techniques of the candidate, in the order they apply.")
    ],
    pack: Annotated[str, typer.Option(help="Pack to measure it on.")] = "nanochat",
    problems: Problems = None,
    corpus: Corpus = None,
    profile: ProfileName = None,
    start: Annotated[str | None, typer.Option(help="Start that they are applied to.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each version.")] = 2,
    with_start: Annotated[
        bool, typer.Option("--with-start", help="Measure the start without any of them too.")
    ] = False,
    of: Annotated[
        str | None, typer.Option(help="Compare a value that the profile requires: loss, ...")
    ] = None,
    split: Annotated[str, typer.Option(help="search, or sealed.")] = "search",
    fidelity: Annotated[str, typer.Option(help="full, or a cheaper setting.")] = "full",
    wall: Wall = None,
    slots: Slots = None,
    sandbox: SandboxName = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File of the trials; those in it count.")
    ] = Path("ablation.jsonl"),
    as_json: AsJson = False,
) -> None:
    """Take each technique out of a candidate once and say what it is worth.

    Example: novum ablate bigram_prior small_batch --pack nanochat --trials 3
    """
    from novum.benchmarks.moves import load_playbook
    from novum.benchmarks.pack import find_pack
    from novum.evals import ablate as ablation
    from novum.sandboxes.executor import make_slots

    part, began_s, limit_s = split_of(split), time.monotonic(), seconds(wall)
    found = find_pack(name_of_pack(pack, problems, corpus))
    size = found.profile(profile)
    size.budget(fidelity)  # refused now, and not by the first trial
    measured = ablation.Measure.of(found, size, of)
    files = found.start_files(start or found.starts_of(size)[0])
    playbook = load_playbook(found.folder / "playbook")
    arms = ablation.arms_of(files, playbook, moves, with_start=with_start)
    ends_s = None if limit_s is None else began_s + limit_s
    plan = ablation.Plan(arms, trials, part, fidelity, ends_s)
    bench = ready_bench(found, profile, sandbox)
    places = make_slots(size.cores, size.gpus, n_slots=slots)

    def tell(row: dict[str, Any]) -> None:
        print(json.dumps(row) if as_json else ablation.in_short(row, measured), flush=True)

    rows = asyncio.run(ablation.measure(bench, places, plan, output, tell))
    if not as_json:
        print(ablation.table(rows, arms, measured))
        n_left = trials * len(ablation.different(arms)) - len(rows)
        if n_left > 0:
            print(f"{n_left} trials did not fit into {wall}; the same command goes on with them.",
                  file=sys.stderr)  # fmt: skip
    if not any(value is not None for value in measured.scores(rows, arms[0])):
        raise typer.Exit(1)
