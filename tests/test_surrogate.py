"""The surrogate's design is balanced and repeatable, and its trials are written one by one."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from math import exp
from pathlib import Path
from random import Random

import pytest

from novum.benchmarks.moves import load_playbook
from novum.benchmarks.pack import find_pack
from novum.evals.suites.surrogate.ceiling import ceiling
from novum.evals.suites.surrogate.design import arms, build
from novum.evals.suites.surrogate.landscape import Surrogate, fitted
from novum.evals.suites.surrogate.measure import read_design, read_trials
from novum.evals.suites.surrogate.model import Row, correlation, fit, read_table

N = 130


def test_a_design_applies_repeats_and_measures_every_technique_alone_and_together() -> None:
    pack = find_pack("nanochat")
    techniques, start = load_playbook(pack.folder / "playbook"), pack.start_files()
    techniques = {name: techniques[name] for name in fitted().names[:14]}
    made = list(islice(arms(techniques, start, "x", "quarter"), N))
    assert made == list(islice(arms(techniques, start, "x", "quarter"), N))
    full = [arm.names for arm in made if arm.fidelity == "full"]
    assert sum(names == () for names in full) >= 6
    counts = Counter(name for names in full for name in names)
    assert set(counts) == set(techniques)
    singles = {names for names in full if len(names) == 1}
    assert len(singles) >= len(techniques) - 1  # one applies only to another
    assert {arm.names for arm in made if arm.fidelity == "quarter"} & singles
    for names in full[-20:]:
        assert build(techniques, start, names) is not None


def test_a_design_is_made_once_and_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    pack = find_pack("nanochat")
    first = read_design(tmp_path, pack, 40, None)
    assert len(first) == 40 and all(arm.fidelity == "full" for arm in first)
    assert read_design(tmp_path, pack, 9, "quarter") == first
    (tmp_path / "trials.jsonl").write_text('{"index": 4}\n{"index": 7}\n{"ind')
    assert [row["index"] for row in read_trials(tmp_path)] == [4, 7]


def test_the_shipped_table_predicts_sets_that_were_left_out_and_pairs_matter() -> None:
    rows, kinds, measured = read_table()
    assert sum(row.fidelity == "full" for row in rows) >= 250
    model = fitted()
    assert model.error < model.additive_error < model.spread / 3
    assert measured["pack"] == "nanochat" and set(model.names) <= set(kinds)
    pearson, spearman, n = correlation(rows, "quarter")
    assert n >= 40 and pearson > 0.9 and spearman > 0.7


def test_the_model_finds_effects_and_pairs_that_were_put_in() -> None:
    rng = Random(3)
    names = [f"t{i}" for i in range(8)]
    rows = []
    for i in range(160):
        has = frozenset(n for n in names if rng.random() < 0.4)
        value = 1.0 - 0.5 * ("t0" in has) - 0.1 * ("t1" in has) + 0.08 * ({"t0", "t1"} <= has)
        for _ in range(1 + (i < 20)):
            rows.append(Row(has, "full", exp(value + rng.gauss(0.0, 0.01)), float(i)))
    model = fit(rows, dict.fromkeys(names, "data"))
    assert model.strongest == "t0"
    base = model.log_metric(frozenset())
    assert model.log_metric(frozenset({"t1"})) - base == pytest.approx(-0.1, abs=0.03)
    both = model.log_metric(frozenset({"t0", "t1"})) - model.log_metric(frozenset({"t0"}))
    assert both == pytest.approx(-0.02, abs=0.03)


def test_the_surrogate_offers_each_technique_once() -> None:
    landscape, rng = Surrogate(1), Random(1)
    seen: frozenset[str] = frozenset()
    while (idea := landscape.draw(None, seen, rng)) is not None:
        assert idea not in seen
        seen |= {idea}
    assert len(seen) == len(fitted().names) - 1 and landscape.value(frozenset()) == 0.0


def test_no_single_change_betters_the_ceiling_and_it_lies_above_all_techniques_together() -> None:
    most, best = ceiling(n_starts=1)
    surrogate = Surrogate(0)
    assert most == surrogate.value(best) > surrogate.value(frozenset(surrogate.pool))
    assert all(surrogate.value(best ^ {idea}) <= most for idea in surrogate.pool)
